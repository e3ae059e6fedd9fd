"""Checks of the options of the PySCF calculator, before anything is computed."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pyscf import dft

from kakehashi_ase import CalculatorInputError
from kakehashi_core.errors import suggest
from kakehashi_pyscf._molecules import check_names, whole_number
from kakehashi_pyscf.functional_library import REGISTRY_LIBRARY

_INIT_GUESSES = ("minao", "atom", "1e", "huckel", "mod_huckel", "sap", "vsap")
_OWN_OPTIONS = {
    "xc": "xc",
    "conv_tol": "conv_tol",
    "max_cycle": "max_cycle",
    "max_memory": "max_memory",
    "verbose": "verbose",
    "grids": "grid_level",
}
"""SCF attributes with an option of their own."""

_INTERNAL = frozenset(
    "DIIS callback chkfile converged cycles diis_file e_tot mo_coeff mo_energy mo_occ mol nlcgrids "  # noqa: SIM905  one per line would fill the page
    "opt output scf_summary stdout".split()
)
"""Attributes that PySCF lists, but that are results, files or objects."""


def check_options(parameters: Mapping[str, Any], *, methods: Collection[str]) -> None:
    """Raise unless every option of the calculator has a value that is allowed.

    Args:
        parameters: Option name to value, complete.
        methods: Values allowed for "method".

    Raises:
        UnknownNameError: If neither kakehashi nor libxc knows the functional.
        CalculatorInputError: If another value is not allowed.
    """
    if not isinstance(parameters["xc"], str) or not parameters["xc"].strip():
        raise CalculatorInputError(
            f"option 'xc' is {parameters['xc']!r}; it must be the name of a functional such as "
            "'pbe'. 'kakehashi list' shows the neural ones."
        )
    if not REGISTRY_LIBRARY.is_ours(parameters["xc"]):
        REGISTRY_LIBRARY.xc_type(parameters["xc"])  # libxc knows it, or an error says what is known
    check_names("basis", parameters["basis"])
    for option in ("ecp", "auxbasis"):
        if parameters[option] is not None:
            check_names(option, parameters[option])
    for option in ("charge", "spin", "multiplicity"):
        if parameters[option] is not None:
            whole_number(f"option {option!r}", parameters[option])
    _check_spin_options(parameters["spin"], parameters["multiplicity"])
    if parameters["method"] not in methods:
        raise CalculatorInputError(
            f"option 'method' is {parameters['method']!r}; it must be one of {', '.join(methods)}."
        )
    for option in ("density_fit", "robust", "reuse_density"):
        if not isinstance(parameters[option], bool):
            raise CalculatorInputError(
                f"option {option!r} is {parameters[option]!r}; it must be True or False."
            )
    _check_range("grid_level", parameters["grid_level"], 0, 9)
    _check_range("verbose", parameters["verbose"], 0, 9)
    _check_range("max_cycle", parameters["max_cycle"], 1, None)
    _check_positive("conv_tol", parameters["conv_tol"])
    if parameters["max_memory"] is not None:
        _check_positive("max_memory", parameters["max_memory"])
    _check_scf_options(parameters["scf_options"])


def _check_spin_options(spin: int | None, multiplicity: int | None) -> None:
    if spin is not None and spin < 0:
        raise CalculatorInputError(
            f"option 'spin' is {spin}; it counts unpaired electrons and cannot be negative."
        )
    if multiplicity is not None and multiplicity < 1:
        raise CalculatorInputError(
            f"option 'multiplicity' is {multiplicity}; it is 2S + 1, at least 1."
        )
    if spin is not None and multiplicity is not None and multiplicity != spin + 1:
        raise CalculatorInputError(
            f"spin={spin} (unpaired electrons) and multiplicity={multiplicity} contradict each "
            f"other; the multiplicity would be {spin + 1}. Give one of them."
        )


def _check_range(option: str, given: object, lowest: int, highest: int | None) -> None:
    value = whole_number(f"option {option!r}", given)
    if value < lowest or (highest is not None and value > highest):
        allowed = f"from {lowest} to {highest}" if highest is not None else f"at least {lowest}"
        raise CalculatorInputError(f"option {option!r} is {value}; it must be {allowed}.")


def _check_positive(option: str, value: object) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise CalculatorInputError(f"option {option!r} is {value!r}; it must be a positive number.")


def _check_scf_options(options: Mapping[str, object]) -> None:
    if not isinstance(options, Mapping):
        raise CalculatorInputError(
            f"option 'scf_options' is {options!r}; it must be a dictionary of attribute to value."
        )
    known = {key for cls in dft.uks.UKS.__mro__ for key in getattr(cls, "_keys", ())}
    known -= _INTERNAL | set(_OWN_OPTIONS)
    for name, value in options.items():
        if name in _OWN_OPTIONS:
            raise CalculatorInputError(
                f"scf_options has {name!r}, which is set with the option {_OWN_OPTIONS[name]!r}."
            )
        if name not in known:
            raise CalculatorInputError(
                f"scf_options has the unknown name {name!r}.{suggest(name, known)} "
                f"Known: {', '.join(sorted(known))}."
            )
        if name == "init_guess" and value not in _INIT_GUESSES:
            # PySCF silently takes minao for a name that it does not know.
            raise CalculatorInputError(
                f"init_guess is {value!r}.{suggest(str(value), _INIT_GUESSES)} "
                f"Possible: {', '.join(_INIT_GUESSES)}."
            )
