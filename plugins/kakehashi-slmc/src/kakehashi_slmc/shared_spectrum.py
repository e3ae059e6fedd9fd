"""One diagonalization for all temperatures: what parallel tempering of spin-fermion models needs."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError
from kakehashi_slmc.spin_fermion import SpinFermion

FloatArray = npt.NDArray[np.float64]

MEMORY = 4096
"""Spectra that are remembered, the last ones."""


class SharedSpectrum:
    """Log-weights of one model at several temperatures and chemical potentials.

    Spectra of spins that were asked for a moment ago are remembered, so that exchanges of parallel tempering
    need none of their own.

    Args:
        model: The model at any temperature.
        temperatures: T of each copy, coldest first.
        chemical_potentials: mu of each; None for that of the model.

    Attributes:
        n_diagonalizations: How many spectra were computed.

    Raises:
        InvalidInputError: If a temperature is not positive, or the numbers of both differ.
    """

    def __init__(
        self,
        model: SpinFermion,
        temperatures: Sequence[float],
        chemical_potentials: Sequence[float] | None = None,
    ) -> None:
        if chemical_potentials is None:
            chemical_potentials = [model.chemical_potential] * len(temperatures)
        if len(chemical_potentials) != len(temperatures) or not len(temperatures):
            raise InvalidInputError(
                f"{len(temperatures)} temperatures and {len(chemical_potentials)} chemical potentials: "
                "one of each is needed for every copy"
            )
        self.models = tuple(
            model.at(temperature=t, chemical_potential=mu)
            for t, mu in zip(temperatures, chemical_potentials, strict=True)
        )
        self._known: OrderedDict[bytes, FloatArray] = OrderedDict()
        self.n_diagonalizations = 0

    def __call__(self, spins: FloatArray) -> FloatArray:
        """Return log W at all temperatures, (n_chains, n_temperatures)."""
        spectra = self.spectra(spins)
        return np.stack([m.log_weight(spectra) for m in self.models], axis=1)

    def at(self, number: int) -> Callable[[FloatArray], FloatArray]:
        """Return the log-weight at one temperature, spins to (n_chains,)."""
        model = self.models[number]
        return lambda spins: model.log_weight(self.spectra(spins))

    def spectra(self, spins: FloatArray) -> FloatArray:
        """Return eigenvalues, (n_chains, 2 n_sites), computed unless they are remembered."""
        keys = [np.ascontiguousarray(s).tobytes() for s in spins]
        missing = [i for i, key in enumerate(keys) if key not in self._known]
        found = dict(
            zip(missing, self.models[0].spectrum(spins[missing]), strict=True) if missing else ()
        )
        self.n_diagonalizations += len(missing)
        spectra = np.array([found[i] if i in found else self._known[k] for i, k in enumerate(keys)])
        for key, spectrum in zip(keys, spectra, strict=True):
            self._known[key] = spectrum
            self._known.move_to_end(key)
        while len(self._known) > max(MEMORY, len(keys)):
            self._known.popitem(last=False)
        return spectra
