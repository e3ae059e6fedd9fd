"""Equilibrium samples of small glass-forming liquids: Monte Carlo with exchanges of particles."""

from kakehashi_botan.sampling.liquids import Liquid, small_ternary_liquid, ternary_liquid
from kakehashi_botan.sampling.monte_carlo import ParticleMoves

__all__ = ["Liquid", "ParticleMoves", "small_ternary_liquid", "ternary_liquid"]
