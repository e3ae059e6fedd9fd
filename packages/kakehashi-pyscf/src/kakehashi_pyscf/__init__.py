"""Bridge between kakehashi functionals and PySCF. Everything is in Hartree atomic units.

``attach(mf)`` serves one mean-field object, ``enable()`` the whole process; ``converge(mf)`` is the
robust SCF driver.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from kakehashi_pyscf.attachment import attach
    from kakehashi_pyscf.calculator import PySCFCalculator
    from kakehashi_pyscf.fixed_densities import FixedDensity, fixed_density
    from kakehashi_pyscf.functional_library import FunctionalLibrary, GridResponseWarning
    from kakehashi_pyscf.process_switch import disable, enable, is_enabled
    from kakehashi_pyscf.scf_driver import SCFConvergenceError, converge

__all__ = [
    "FixedDensity",
    "FunctionalLibrary",
    "GridResponseWarning",
    "PySCFCalculator",
    "SCFConvergenceError",
    "attach",
    "converge",
    "disable",
    "enable",
    "fixed_density",
    "is_enabled",
]

_HOMES = {
    "FixedDensity": "fixed_densities",
    "FunctionalLibrary": "functional_library",
    "GridResponseWarning": "functional_library",
    "PySCFCalculator": "calculator",
    "SCFConvergenceError": "scf_driver",
    "attach": "attachment",
    "converge": "scf_driver",
    "disable": "process_switch",
    "enable": "process_switch",
    "fixed_density": "fixed_densities",
    "is_enabled": "process_switch",
}


def __getattr__(name: str) -> object:
    # Importing this package must not import PySCF: entry points live here, and listing them stays cheap.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
