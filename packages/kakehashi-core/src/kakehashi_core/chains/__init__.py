"""Markov chains: reversible kernels, runs that resume to the last bit, honest errors.

``Metropolis`` and others move many chains at once, ``run_chains`` warms up, freezes, measures and keeps
checkpoints, ``autocorrelation`` and ``jackknife`` give errors, ``rhat`` and ``effective_sample_size`` say
whether chains agree.
"""

from kakehashi_core.chains.autocorrelation import Autocorrelation, autocorrelation, estimate
from kakehashi_core.chains.convergence import effective_sample_size, rhat
from kakehashi_core.chains.kernels import (
    AdaptedScale,
    ChainState,
    EitherWay,
    Kernel,
    LogWeight,
    Metropolis,
    Proposal,
    Repeated,
    Step,
    warm_up,
)
from kakehashi_core.chains.resampling import binder_cumulant, binned, jackknife
from kakehashi_core.chains.runs import ChainRun, Observable, run_chains
from kakehashi_core.chains.samplers import ChainSampler
from kakehashi_core.chains.scripts import ScriptKernel
from kakehashi_core.chains.tempering import ParallelTempering

__all__ = [
    "AdaptedScale",
    "Autocorrelation",
    "ChainRun",
    "ChainSampler",
    "ChainState",
    "EitherWay",
    "Kernel",
    "LogWeight",
    "Metropolis",
    "Observable",
    "ParallelTempering",
    "Proposal",
    "Repeated",
    "ScriptKernel",
    "Step",
    "autocorrelation",
    "binder_cumulant",
    "binned",
    "effective_sample_size",
    "estimate",
    "jackknife",
    "rhat",
    "run_chains",
    "warm_up",
]
