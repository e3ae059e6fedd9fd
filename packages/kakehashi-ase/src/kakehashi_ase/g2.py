"""The G2/97 molecules and their experimental atomization energies, from ASE's tabulated data.

ASE ships the geometries (MP2/6-31G*) and thermochemistry of the G2-1 (55 molecules) and G2-2 (93) sets;
together they are called AE148 here. Energies leave this module in kcal/mol, the unit of the literature.
"""

from __future__ import annotations

from collections import Counter
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from kakehashi_core.errors import unknown_name

if TYPE_CHECKING:
    from ase import Atoms


@lru_cache(maxsize=1)
def _data() -> dict[str, dict[str, Any]]:
    from ase.data import g2_1, g2_2

    # Nine atoms stand in both files; the entries of g2_1 are the complete ones.
    merged: dict[str, Any] = dict(g2_2.data)
    merged.update(g2_1.data)
    return merged


@lru_cache(maxsize=1)
def molecule_names() -> tuple[str, ...]:
    """Return the names of the 148 molecules, as ASE spells them, sorted."""
    from ase.data import g2_1, g2_2

    return tuple(sorted(set(g2_1.molecule_names) | set(g2_2.molecule_names)))


def g2_molecule(name: str) -> Atoms:
    """Return a molecule or atom of the set, with the magnetic moments of its ground state.

    Args:
        name: ASE's name, for instance "H2CO"; atoms go by their chemical symbol.

    Raises:
        UnknownNameError: If the set has no such entry.
    """
    from ase import Atoms

    entry = _entry(name)
    return Atoms(
        symbols=entry["symbols"], positions=entry["positions"], magmoms=entry["magmoms"] or None
    )


def n_unpaired_electrons(name: str) -> int:
    """Return 2S of the ground state, the sum of the tabulated magnetic moments."""
    moments: list[float] = _entry(name)["magmoms"] or [0.0]
    return round(sum(moments))


def composition(name: str) -> dict[str, int]:
    """Return chemical symbol to number of atoms."""
    return dict(Counter(g2_molecule(name).get_chemical_symbols()))


def atomization_energy(name: str) -> float:
    """Return the experimental electronic atomization energy De, kcal/mol.

    Zero-point and thermal contributions are taken out with the tabulated values; atomic spin-orbit
    splitting stays inside, as in the published comparisons.

    Source:
        Curtiss et al., J. Chem. Phys. 106, 1063 (1997):
        De = -H298(M) + ZPE(M) + [H298 - H0](M) + sum_atoms {H0(atom) - [H298 - H0](element)}.
        Checks: H2O 232.58, N2 228.48, CH4 420.18.
    """
    data, entry = _data(), _entry(name)
    bound = -entry["enthalpy"] + entry["ZPE"] + entry["thermal correction"]
    return float(
        bound
        + sum(
            data[symbol]["enthalpy"] - data[symbol]["thermal correction"]
            for symbol in g2_molecule(name).get_chemical_symbols()
        )
    )


def _entry(name: str) -> dict[str, Any]:
    data = _data()
    if name not in data:
        raise unknown_name("G2 molecule", name, molecule_names())
    return data[name]
