"""Checks of what a model returned, and the conversion to what ASE keeps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_ase.errors import NonFiniteResultError

Results = dict[str, float | npt.NDArray[np.float64] | npt.NDArray[np.int64]]

_SHAPES: dict[str, tuple[int | str, ...]] = {
    "energy": (),
    "free_energy": (),
    "energies": ("n_atoms",),
    "forces": ("n_atoms", 3),
    "stress": (6,),
    "stresses": ("n_atoms", 6),
    "dipole": (3,),
    "charges": ("n_atoms",),
    "magmom": (),
    "magmoms": ("n_atoms",),
    "polarization": (3,),
    "dielectric_tensor": (3, 3),
    "born_effective_charges": ("n_atoms", 3, 3),
}
"""Shape of every property that ASE knows; other names may have any shape."""


def checked_results(
    raw: Mapping[str, object], *, n_atoms: int, model: str, check_finite: bool = True
) -> Results:
    """Return fresh copies of what a model returned, float64; int64 for arrays of integers of its own naming.

    Args:
        raw: Property name to number or array, eV, Å and their combinations.
        n_atoms: Number of atoms.
        model: Name for the messages.
        check_finite: Whether NaN and infinity are refused.

    Returns:
        Numbers as float, everything else as a new array that shares no memory with the model.

    Raises:
        NonFiniteResultError: If a value is NaN or infinite.
        TypeError: If a value has the wrong shape, a mistake of the model's author.
    """
    results: Results = {}
    for name, value in raw.items():
        expected = _SHAPES.get(name)
        given = np.asarray(value)
        # Numbers of atoms, pairs of them: an index has to stay one.
        indices = expected is None and given.ndim > 0 and np.issubdtype(given.dtype, np.integer)
        array: npt.NDArray[Any] = np.array(
            given, dtype=np.int64 if indices else np.float64, copy=True, order="C"
        )
        if expected is not None:
            shape = tuple(n_atoms if size == "n_atoms" else size for size in expected)
            if array.shape != shape:
                raise TypeError(
                    f"calculator {model!r} returned {name!r} with shape {array.shape}; ASE expects "
                    f"{shape}. This is a mistake in the calculator, please report it."
                )
        if check_finite and not np.isfinite(array).all():
            index = tuple(int(k) for k in np.argwhere(~np.isfinite(array))[0])
            place = f"[{', '.join(map(str, index))}]" if index else ""
            raise NonFiniteResultError(
                f"calculator {model!r} returned {name}{place} = {array[index]}; results must be "
                "finite. Look for overlapping atoms or a structure far from what the model knows."
            )
        results[name] = float(array) if array.ndim == 0 else array
    return results
