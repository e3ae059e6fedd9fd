"""A self-consistent field calculation as arrays: its Hamiltonians, one by one, and what it cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.contracts import GuessRequest
from kakehashi_core.errors import ConvergenceError
from kakehashi_pyscf.guess_requests import guess_request

FloatArray = npt.NDArray[np.float64]


class BuildCounter:
    """Number of Fock matrices that were built."""

    def __init__(self) -> None:
        self.n = 0


@contextmanager
def counted_builds(mf: Any) -> Iterator[BuildCounter]:
    """Count every call of ``mf.get_veff`` within the block, also those before and after the SCF loop."""
    counter = BuildCounter()
    build = mf.get_veff

    def counting(*args: Any, **kwargs: Any) -> Any:
        counter.n += 1
        return build(*args, **kwargs)

    mf.get_veff = counting
    try:
        yield counter
    finally:
        del mf.get_veff


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class SCFRecord:
    """What a calculation from PySCF's ``minao`` guess gave.

    Attributes:
        request: What was known before.
        hamiltonian: Kohn-Sham matrix at convergence, (n_ao, n_ao), hartree.
        iterates: Hamiltonians that were diagonalized, (n_cycles, n_ao, n_ao).
        images: Kohn-Sham matrices of the densities of these, the same shape.
        start: Kohn-Sham matrix of the guess.
        energy: Hartree.
        forces: (n_atoms, 3), hartree/bohr; None if not asked for.
        n_builds: Fock matrices that were built, without forces.
        n_cycles: Cycles.
    """

    request: GuessRequest
    hamiltonian: FloatArray = field(repr=False)
    iterates: FloatArray = field(repr=False)
    images: FloatArray = field(repr=False)
    start: FloatArray = field(repr=False)
    energy: float
    forces: FloatArray | None = field(default=None, repr=False)
    n_builds: int
    n_cycles: int


def record_scf(mf: Any, *, forces: bool = False) -> SCFRecord:
    """Run a closed-shell calculation and keep its Hamiltonians.

    Args:
        mf: RKS object; ``conv_tol`` is that of the object.
        forces: Compute them, too.

    Raises:
        ConvergenceError: If it does not converge.
    """
    iterates: list[FloatArray] = []
    images: list[FloatArray] = []
    starts: list[FloatArray] = []

    def keep(envs: dict[str, Any]) -> None:
        # DIIS hands ``fock_last`` to the diagonalization whose density ``fock`` is built from.
        iterates.append(np.array(envs["fock_last"]))
        images.append(np.array(envs["h1e"] + envs["vhf"]))

    def first(envs: dict[str, Any]) -> None:
        starts.append(np.array(envs["h1e"] + envs["vhf"]))

    mf.callback, mf.pre_kernel = keep, first
    request = guess_request(mf)
    try:
        with counted_builds(mf) as builds:
            mf.kernel()
    finally:
        mf.callback = None
        del mf.pre_kernel
    if not mf.converged:
        raise ConvergenceError(
            f"the SCF did not converge in {mf.max_cycle} cycles; raise max_cycle or leave this geometry out"
        )
    gradient = -np.asarray(mf.nuc_grad_method().kernel()) if forces else None
    return SCFRecord(
        request=request,
        hamiltonian=images[-1],
        iterates=np.array(iterates),
        images=np.array(images),
        start=starts[0],
        energy=float(mf.e_tot),
        forces=gradient,
        n_builds=builds.n,
        n_cycles=int(mf.cycles),
    )
