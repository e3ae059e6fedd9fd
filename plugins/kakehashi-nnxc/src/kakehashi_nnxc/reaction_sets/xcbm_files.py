"""Read reaction sets from the files of the ``xcbm`` data package (MGCDB84 and GMTKN55).

The package is an optional dependency (``pip install 'kakehashi-nnxc[bench]'``); nothing of it is copied here.
"""

from __future__ import annotations

from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path

from kakehashi_core.errors import InvalidInputError
from kakehashi_nnxc._units import HARTREE_IN_KCAL_PER_MOL
from kakehashi_nnxc.reaction_sets.reactions import Molecule, Reaction, ReactionSet

MGCDB84 = "MGCDB84, N. Mardirossian, M. Head-Gordon, Mol. Phys. 115, 2315 (2017), from the data package xcbm"
GMTKN55 = "GMTKN55, L. Goerigk et al., Phys. Chem. Chem. Phys. 19, 32184 (2017), from the data package xcbm"


def mgcdb84(*files: str, name: str, title: str) -> ReactionSet:
    """Return one or several data files of MGCDB84 as one set.

    Args:
        files: Names without ending, for instance "HTBH38".
        name: Name of the set.
        title: What the numbers are.

    Raises:
        InvalidInputError: If the data package is not installed.
    """
    folder = _folder() / "MGCDB84_Dataset"
    reactions: list[Reaction] = []
    for file in files:
        text = (folder / "Reaction_Energy" / f"{file}.dat").read_text(encoding="utf-8")
        reactions.extend(_mgcdb84_reaction(line) for line in text.splitlines() if line.strip())
    geometries = _geometry_files()
    names = dict.fromkeys(n for r in reactions for n in r.coefficients)
    return ReactionSet(
        name=name,
        title=title,
        molecules={n: _read_geometry(n, geometries[n]) for n in names},
        reactions=tuple(reactions),
        source=MGCDB84,
    )


def gmtkn55(file: str, *, name: str, title: str) -> ReactionSet:
    """Return one subset of GMTKN55.

    Args:
        file: Name of the subset, for instance "PX13".
        name: Name of the set.
        title: What the numbers are.

    Raises:
        InvalidInputError: If the data package is not installed.
    """
    folder = _folder() / "GMTKN55_Dataset"
    charges: dict[str, tuple[int, int]] = {}
    text = (folder / "CHARGE_MULTIPLICITY" / f"CHARGE_MULTIPLICITY_{file}.txt").read_text("utf-8")
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3:
            charges[words[0].lower()] = (int(words[1]), int(words[2]) - 1)
    text = (folder / "STOCHIOMETRY" / f"STOCHIOMETRY_{file}.txt").read_text("utf-8")
    reactions, molecules = [], {}
    for line in text.splitlines():
        words = line.split()
        if not words or words[0].startswith("#"):
            continue
        n_species = (len(words) - 2) // 2
        species = [f"{word}_{file}" for word in words[1 : 1 + n_species]]
        numbers = [float(word) for word in words[1 + n_species : 1 + 2 * n_species]]
        reactions.append(
            Reaction(
                name=f"{file}_{words[0]}",
                coefficients=dict(zip(species, numbers, strict=True)),
                reference=float(words[-1]),
            )
        )
        for word, key in zip(words[1 : 1 + n_species], species, strict=True):
            charge, spin = charges.get(word.lower(), (0, 0))
            path = folder / "STRUCTURES" / file / word / "struc.xyz"
            molecules[key] = _read_xyz(key, path, charge, spin)
    return ReactionSet(
        name=name, title=title, molecules=molecules, reactions=tuple(reactions), source=GMTKN55
    )


def _mgcdb84_reaction(line: str) -> Reaction:
    words = line.strip().split(",")
    pairs = zip(words[1:-1:2], words[2:-1:2], strict=True)
    return Reaction(
        name=words[0],
        coefficients={species: float(number) for number, species in pairs},
        reference=HARTREE_IN_KCAL_PER_MOL * float(words[-1]),
    )


def _folder() -> Path:
    found = find_spec("xcbm")
    if found is None or not found.submodule_search_locations:
        raise InvalidInputError(
            "this reaction set is read from the data package 'xcbm', which is not installed; "
            "pip install 'kakehashi-nnxc[bench]' brings it"
        )
    return Path(next(iter(found.submodule_search_locations)))


@lru_cache(maxsize=1)
def _geometry_files() -> dict[str, Path]:
    # Sets borrow geometries from each other, so every folder is searched.
    return {path.stem: path for path in (_folder() / "MGCDB84_Dataset/Geometries").glob("*/*.xyz")}


def _read_geometry(name: str, path: Path) -> Molecule:
    second = path.read_text(encoding="utf-8").splitlines()[1].split()
    return _read_xyz(name, path, int(second[0]), int(second[1]) - 1)


def _read_xyz(name: str, path: Path, charge: int, spin: int) -> Molecule:
    lines = path.read_text(encoding="utf-8").splitlines()
    rows = [line.split() for line in lines[2 : 2 + int(lines[0])]]
    return Molecule(
        name=name,
        symbols=tuple(row[0].capitalize() for row in rows),
        positions=tuple((float(row[1]), float(row[2]), float(row[3])) for row in rows),
        charge=charge,
        spin=spin,
    )
