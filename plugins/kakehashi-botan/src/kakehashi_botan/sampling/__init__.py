"""Equilibrium samples of small glass-forming liquids: Monte Carlo, flows between temperatures, annealing.

``GlassSampler`` gives configurations at one temperature, ``anneal`` brings a population down a ladder of
them, and ``FlowExchange`` and ``ParticleMoves`` are kernels for scripts of your own.
"""

from kakehashi_botan.sampling.annealing import Annealed, anneal
from kakehashi_botan.sampling.flow import Carried, Flow
from kakehashi_botan.sampling.flow_exchange import FlowExchange
from kakehashi_botan.sampling.glass_sampler import GlassSampler
from kakehashi_botan.sampling.liquid_samples import (
    TemperedSamples,
    equilibrium_samples,
    tempered_samples,
)
from kakehashi_botan.sampling.liquids import Liquid, small_ternary_liquid, ternary_liquid
from kakehashi_botan.sampling.monte_carlo import ParticleMoves, equilibrated
from kakehashi_botan.sampling.pair_distribution import pair_distribution
from kakehashi_botan.sampling.reweighting import CollapsedWeightsWarning, WeightedSamples
from kakehashi_botan.sampling.trained_flow import (
    TrainedFlow,
    load_flow,
    load_packaged_flow,
    save_flow,
)
from kakehashi_botan.sampling.transport_field import TransportField

__all__ = [
    "Annealed",
    "Carried",
    "CollapsedWeightsWarning",
    "Flow",
    "FlowExchange",
    "GlassSampler",
    "Liquid",
    "ParticleMoves",
    "TemperedSamples",
    "TrainedFlow",
    "TransportField",
    "WeightedSamples",
    "anneal",
    "equilibrated",
    "equilibrium_samples",
    "load_flow",
    "load_packaged_flow",
    "pair_distribution",
    "save_flow",
    "small_ternary_liquid",
    "tempered_samples",
    "ternary_liquid",
]
