"""What a predictor saves in real calculations, and when it says that it is wrong."""
