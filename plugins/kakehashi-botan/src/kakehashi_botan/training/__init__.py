"""Data and training of the models of this package: ``kakehashi train botan``."""
