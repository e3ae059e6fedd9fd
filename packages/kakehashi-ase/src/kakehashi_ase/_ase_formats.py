"""Entry point of the group ``ase.ioformats``: a file format, and the registration of our calculators.

ASE loads this module in the middle of ``import ase.io``; see ``ase_hook``. The format keeps *all* results of
a calculator with the structure, also those that ASE has no name for, and who calculated them. It is one JSON
object: eV and Å, numbers exact.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, TextIO

from ase.utils.plugins import ExternalIOFormat

from kakehashi_ase.ase_hook import HookReport, register_calculators

if TYPE_CHECKING:
    from ase import Atoms

FORMAT_VERSION = 1

# A list: ASE shows the letters of a bare string one by one.
result_format = ExternalIOFormat(
    desc="kakehashi result (JSON)",
    code="1F",
    module="kakehashi_ase._ase_formats",
    ext=["kakehashi"],
)

report: HookReport = register_calculators()


def write_kakehashi_result(file: TextIO, atoms: Atoms) -> None:
    """Write a structure with all results of its calculator.

    Args:
        file: Open text file.
        atoms: The structure. Results are written if they belong to it; nothing is calculated.
    """
    import numpy as np

    calc = atoms.calc
    current = calc is not None and not calc.check_state(atoms)
    results = dict(calc.results) if current else {}
    arrays = {
        name: array
        for name, array in atoms.arrays.items()
        if name not in ("numbers", "positions") and array.dtype.kind in "bif"
    }
    content = {
        "format": "kakehashi-result",
        "format_version": FORMAT_VERSION,
        "units": {"length": "Å", "energy": "eV"},
        "numbers": atoms.numbers.tolist(),
        "positions": atoms.positions.tolist(),
        "cell": atoms.cell.array.tolist(),
        "pbc": atoms.pbc.tolist(),
        "arrays": {name: array.tolist() for name, array in arrays.items()},
        "results": {name: np.asarray(value).tolist() for name, value in results.items()},
        "calculator": {"name": calc.name, "parameters": _plain(calc)} if current else None,
    }
    json.dump(content, file, indent=1)
    file.write("\n")


def read_kakehashi_result(file: TextIO) -> Atoms:
    """Read what ``write_kakehashi_result`` wrote; results come back in a ``SinglePointCalculator``.

    Raises:
        InvalidInputError: If the file is something else, damaged, or of a newer version.
    """
    import numpy as np
    from ase import Atoms
    from ase.calculators.singlepoint import SinglePointCalculator

    from kakehashi_core.errors import InvalidInputError

    try:
        content: Any = json.load(file)
        if content["format"] != "kakehashi-result":
            raise ValueError(f"its format is {content['format']!r}")
        version = content["format_version"]
        if version != FORMAT_VERSION:
            raise ValueError(
                f"its format_version is {version}, this kakehashi-ase reads {FORMAT_VERSION}"
            )
        atoms = Atoms(
            numbers=np.array(content["numbers"], dtype=int),
            positions=content["positions"],
            cell=content["cell"],
            pbc=content["pbc"],
        )
        for name, array in content["arrays"].items():
            atoms.set_array(name, np.array(array))
        results = {
            name: value if np.ndim(value) == 0 else np.array(value)
            for name, value in content["results"].items()
        }
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidInputError(
            f"{getattr(file, 'name', 'the file')} is no kakehashi result: {error}. Write it again with "
            "ase.io.write(..., format='kakehashi-result')."
        ) from error
    if results:
        calc = SinglePointCalculator(atoms)
        # Not as arguments: ASE insists on names that it knows.
        calc.results.update(results)
        calc.name = content["calculator"]["name"]
        calc.parameters.update(content["calculator"]["parameters"])
        atoms.calc = calc
    return atoms


def _plain(calc: Any) -> dict[str, Any]:
    """Return the parameters of a calculator, of ours or of ASE, as far as they are JSON data."""
    found = {}
    for name, value in calc.todict().items():
        try:
            found[name] = json.loads(json.dumps(value))
        except (TypeError, ValueError):  # an object of a foreign calculator
            found[name] = repr(value)
    return found
