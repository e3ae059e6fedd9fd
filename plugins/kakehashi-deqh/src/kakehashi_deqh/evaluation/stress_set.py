"""Molecules on which a predictor is likely to fail, by name, and molecules larger than it was trained on."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from ase import Atoms
from ase.build import molecule

from kakehashi_core.errors import unknown_name
from kakehashi_deqh.evaluation.altered_molecules import (
    behind,
    bent,
    beside,
    bonded,
    grown,
    stretched,
    twisted,
)

FloatArray = npt.NDArray[np.float64]

OH, ANGLE = 0.969, 104.2
"""Of water, Å and degrees."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stressed:
    """One molecule.

    Attributes:
        name: What is unusual about it.
        atoms: The molecule.
        charge: Total charge.
    """

    name: str
    atoms: Atoms = field(repr=False)
    charge: int = 0


def stress_set(name: str) -> list[Stressed]:
    """Return molecules stretched, bent and dissociating, larger ones and foreign ones.

    Args:
        name: Of a recipe.

    Raises:
        UnknownNameError: If there are none for it.
    """
    sets = {"deqh-water": _of_water, "deqh-ethanol": _of_ethanol, "deqh-hcno": _of_small_molecules}
    if name not in sets:
        raise unknown_name("stress set", name, sets)
    return sets[name]()


def larger_molecules() -> list[Stressed]:
    """Return molecules of H, C, N and O with six and seven heavier atoms.

    Benzene and pyridine are those of ASE; the others are smaller ones with groups in place of hydrogen atoms,
    not relaxed.
    """
    parts: tuple[tuple[str, tuple[str, ...]], ...] = (
        ("C4H4NH", ("methyl",)),
        ("C4H4O", ("methyl",)),
        ("trans-butane", ("methyl", "methyl")),
        ("trans-butane", ("methyl", "amino")),
        ("isobutene", ("methyl", "hydroxyl")),
        ("butadiene", ("methyl", "methyl")),
        ("cyclobutane", ("methyl", "hydroxyl")),
        ("CH3CONH2", ("methyl", "methyl")),
        ("CH3COOH", ("methyl", "amino")),
        ("HCOOCH3", ("methyl", "methyl")),
        ("CH3COCH3", ("methyl", "hydroxyl")),
        ("CH3CH2OCH3", ("methyl", "amino")),
        ("C2H6CHOH", ("methyl", "methyl")),
        ("CH3NO2", ("methyl", "methyl")),
        ("2-butyne", ("methyl", "amino")),
        ("C6H6", ("methyl",)),
        ("C6H6", ("hydroxyl",)),
        ("C6H6", ("amino",)),
        ("C5H5N", ("methyl",)),
    )
    found = [Stressed(name=name, atoms=molecule(name)) for name in ("C6H6", "C5H5N")]
    for name, groups in parts:
        atoms = molecule(name)
        for group in groups:
            atoms = grown(atoms, _first_hydrogen_on_carbon(atoms), group)
        found.append(Stressed(name=f"{name} + {' + '.join(groups)}", atoms=atoms))
    return found


def water(first: float = OH, second: float = OH, angle: float = ANGLE) -> Atoms:
    """Return water with given bonds, Å, and angle, degrees."""
    t = np.deg2rad(angle)
    positions = [[0, 0, 0], [first, 0, 0], [second * np.cos(t), second * np.sin(t), 0]]
    return Atoms("OHH", positions)


def _of_water() -> list[Stressed]:
    found = [Stressed(name="equilibrium", atoms=water())]
    found += [
        Stressed(name=f"one OH x{f:g}", atoms=water(OH * f)) for f in (1.1, 1.25, 1.4, 1.7, 2.2)
    ]
    found += [
        Stressed(name=f"both OH x{f:g}", atoms=water(OH * f, OH * f))
        for f in (0.85, 1.05, 1.15, 1.3)
    ]
    found += [
        Stressed(name=f"angle {a:g}", atoms=water(angle=a)) for a in (80.0, 130.0, 150.0, 178.0)
    ]
    for distance in (2.8, 4.0):
        other = water()
        other.positions += np.array([-distance, 0.3, 0.2])
        found.append(Stressed(name=f"two waters, {distance:g} Å", atoms=water() + other))
    found.append(_hydroxide())
    peroxide = [[0, 0.73, -0.05], [0, -0.73, -0.05], [0.83, 0.88, 0.4], [-0.83, -0.88, 0.4]]
    found.append(Stressed(name="H2O2", atoms=Atoms("OOHH", peroxide)))
    return found + _named(("H2", "CH3OH", "NH3"))


def _of_ethanol() -> list[Stressed]:
    ethanol = molecule("CH3CH2OH")
    neighbors = bonded(ethanol)
    (oxygen,) = np.flatnonzero(ethanol.numbers == 8).tolist()
    (inner,) = [k for k in neighbors[oxygen] if ethanol.numbers[k] == 6]
    (outer,) = [k for k in neighbors[inner] if ethanol.numbers[k] == 6]
    (hydrogen,) = [k for k in neighbors[oxygen] if ethanol.numbers[k] == 1]
    methyl = next(k for k in neighbors[outer] if ethanol.numbers[k] == 1)
    found = [Stressed(name="equilibrium of ASE", atoms=ethanol)]
    for label, near, far, factors in (
        ("OH", oxygen, hydrogen, (1.1, 1.25, 1.7, 2.2)),
        ("CO", inner, oxygen, (1.1, 1.3, 1.9)),
        ("CC", outer, inner, (1.1, 1.3, 1.9)),
        ("CH", outer, methyl, (1.25, 1.7)),
    ):
        found += [
            Stressed(name=f"{label} x{f:g}", atoms=stretched(ethanol, near, far, f))
            for f in factors
        ]
    found += [
        Stressed(name=f"COH {a:g}", atoms=bent(ethanol, inner, oxygen, hydrogen, a))
        for a in (85.0, 135.0, 170.0)
    ]
    found += [
        Stressed(name=f"CCO {a:g}", atoms=bent(ethanol, outer, inner, oxygen, a))
        for a in (90.0, 140.0)
    ]
    found += [
        Stressed(
            name=f"CCOH torsion {a:g}",
            atoms=twisted(ethanol, outer, inner, oxygen, hydrogen, a),
        )
        for a in (0.0, 60.0, 120.0)
    ]
    eclipsed = twisted(ethanol, oxygen, inner, outer, methyl, 0.0)
    found.append(Stressed(name="eclipsed methyl", atoms=eclipsed))
    found.append(Stressed(name="two ethanols", atoms=beside(ethanol, ethanol, 2.5)))
    found.append(Stressed(name="ethanol and water", atoms=beside(ethanol, molecule("H2O"), 2.2)))
    longer = grown(ethanol, methyl, "methyl")
    found.append(Stressed(name="propanol", atoms=longer))
    ethanolate = ethanol.copy()
    del ethanolate[hydrogen]
    found.append(Stressed(name="ethanolate", atoms=ethanolate, charge=-1))
    return found + _named(("CH3OCH3", "CH3OH", "H2O", "CH3CHO", "CH3CH2NH2", "CH3CH2Cl"))


def _of_small_molecules() -> list[Stressed]:
    found = []
    for name, heavy in (("CH3OH", (6, 8)), ("H3CNH2", (6, 7)), ("C2H6", (6, 6)), ("H2CO", (6, 8))):
        atoms = molecule(name)
        near, far = _bond(atoms, *heavy)
        found += [
            Stressed(name=f"{name}, bond x{f:g}", atoms=stretched(atoms, near, far, f))
            for f in (1.15, 1.4, 2.0)
        ]
    ammonia = molecule("NH3")
    found += [
        Stressed(name=f"NH3, NH x{f:g}", atoms=stretched(ammonia, 0, 1, f)) for f in (1.25, 1.8)
    ]
    for degrees in (140.0, 90.0):
        t = np.deg2rad(degrees)
        positions = [[0, 0, 0], [1.156, 0, 0], [1.069 * np.cos(t), 1.069 * np.sin(t), 0]]
        found.append(Stressed(name=f"HCN, {degrees:g} degrees", atoms=Atoms("CNH", positions)))
    ethylene = molecule("C2H4")
    first, second = np.flatnonzero(ethylene.numbers == 6).tolist()
    ends = [
        next(k for k in bonded(ethylene)[c] if k not in {first, second}) for c in (first, second)
    ]
    found += [
        Stressed(
            name=f"C2H4 twisted by {a:g}",
            atoms=_turned_end(ethylene, first, second, ends[1], a),
        )
        for a in (45.0, 90.0)
    ]
    together = beside(molecule("H2CO"), molecule("H2O"), 2.0)
    found.append(Stressed(name="H2CO and water", atoms=together))
    found.append(Stressed(name="two ammonias", atoms=beside(ammonia, ammonia, 2.3)))
    found.append(_hydroxide())
    found.append(Stressed(name="ammonium", atoms=_ammonium(), charge=1))
    found += [s for s in larger_molecules() if len(s.name) < 6]
    return found + _named(("O3", "H2", "CH3Cl", "SH2", "HF", "SiH4"))


def _turned_end(atoms: Atoms, near: int, far: int, moving: int, degrees: float) -> Atoms:
    found: Atoms = atoms.copy()
    other = next(k for k in bonded(atoms)[near] if k != far)
    start = found.get_dihedral(other, near, far, moving)
    hanging = [k for k in behind(atoms, near, far) if k != far]
    found.set_dihedral(other, near, far, moving, start + degrees, indices=hanging)
    return found


def _named(names: Iterable[str]) -> list[Stressed]:
    return [Stressed(name=name, atoms=molecule(name)) for name in names]


def _hydroxide() -> Stressed:
    return Stressed(name="OH-", atoms=Atoms("OH", [[0.0, 0, 0], [OH, 0, 0]]), charge=-1)


def _ammonium() -> Atoms:
    methane: Atoms = molecule("CH4")
    methane.numbers[0] = 7
    methane.positions *= 1.03 / 1.09
    return methane


def _bond(atoms: Atoms, first: int, second: int) -> tuple[int, int]:
    """Return the first bond between atoms of two elements, not the same atom."""
    for near, listed in enumerate(bonded(atoms)):
        for far in listed:
            if (atoms.numbers[near], atoms.numbers[far]) == (first, second):
                return near, far
    raise ValueError(f"no bond between elements {first} and {second}")


def _first_hydrogen_on_carbon(atoms: Atoms) -> int:
    for near, listed in enumerate(bonded(atoms)):
        if atoms.numbers[near] == 1 and len(listed) == 1 and atoms.numbers[listed[0]] == 6:
            return near
    raise ValueError("no hydrogen atom on a carbon atom")
