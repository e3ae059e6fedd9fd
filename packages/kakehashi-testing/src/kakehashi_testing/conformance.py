"""The checks of the conformance suite as functions, for the test suites of other repositories.

Each raises ``ConformanceError`` with a message that says what is wrong, by how much, and what to
do. None of them needs pytest::

    from kakehashi_testing.conformance import check_vxc
    check_vxc(MyFunctional(), spin=1)
    from kakehashi_testing.conformance import check_forces, check_drift
    check_forces(my_calculator, atoms)

Checks inside self-consistent calculations need PySCF and live in ``kakehashi_testing.scf_checks``; those of
samplers of spin states need kakehashi-quspin and live in ``kakehashi_testing.sampler_checks``.
"""

from __future__ import annotations

from kakehashi_testing.calculator_derivatives import check_forces, check_stress
from kakehashi_testing.calculator_dynamics import check_cutoff, check_drift
from kakehashi_testing.calculator_input import (
    check_bad_input,
    check_exception_safety,
    check_unknown_option,
    check_unusual_input,
)
from kakehashi_testing.calculator_results import (
    check_atoms_untouched,
    check_batch,
    check_caching,
    check_matches_spec,
    check_results,
    check_results_owned,
)
from kakehashi_testing.calculator_storage import check_storage, check_todict
from kakehashi_testing.calculator_symmetries import (
    check_extensivity,
    check_inversion,
    check_locality,
    check_permutation,
    check_rotation,
    check_translation,
)
from kakehashi_testing.errors import ConformanceError
from kakehashi_testing.model_checks import (
    check_deterministic,
    check_entry_point,
    check_functional_matches_spec,
    check_pickling,
    check_spec,
    check_thread_count,
)
from kakehashi_testing.process_state import check_import_budget, check_process_untouched
from kakehashi_testing.xc_checks import (
    check_closed_shell,
    check_energy_density,
    check_fast_path,
    check_fxc,
    check_input_untouched,
    check_points_independent,
    check_polarized,
    check_second_fast_path,
    check_spin_flip,
    check_strided_input,
    check_third_derivative,
    check_vanishing_density,
    check_variables_matter,
    check_vxc,
)

__all__ = [
    "ConformanceError",
    "check_atoms_untouched",
    "check_bad_input",
    "check_batch",
    "check_caching",
    "check_closed_shell",
    "check_cutoff",
    "check_deterministic",
    "check_drift",
    "check_energy_density",
    "check_entry_point",
    "check_exception_safety",
    "check_extensivity",
    "check_fast_path",
    "check_forces",
    "check_functional_matches_spec",
    "check_fxc",
    "check_import_budget",
    "check_input_untouched",
    "check_inversion",
    "check_locality",
    "check_matches_spec",
    "check_permutation",
    "check_pickling",
    "check_points_independent",
    "check_polarized",
    "check_process_untouched",
    "check_results",
    "check_results_owned",
    "check_rotation",
    "check_second_fast_path",
    "check_spec",
    "check_spin_flip",
    "check_storage",
    "check_stress",
    "check_strided_input",
    "check_third_derivative",
    "check_thread_count",
    "check_todict",
    "check_translation",
    "check_unknown_option",
    "check_unusual_input",
    "check_vanishing_density",
    "check_variables_matter",
    "check_vxc",
]
