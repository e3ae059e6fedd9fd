"""Measurements of effective models and samplers: ``kakehashi bench slmc``."""
