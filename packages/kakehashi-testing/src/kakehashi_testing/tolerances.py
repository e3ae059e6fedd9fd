"""The one table of tolerances; tests name a row instead of writing a number.

A looser value is a new row with its reason, never a literal in a test. Rows of the last part concern
results that contain an integration grid or a self-consistent iteration: a rotated molecule sees another
grid.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from kakehashi_core.errors import InvalidInputError, unknown_name


@dataclass(frozen=True, slots=True, kw_only=True)
class Tolerance:
    """One row of the table.

    Attributes:
        name: How tests ask for it.
        float64: Largest error allowed in float64.
        float32: The same in float32; ``None`` when that is not offered or not meaningful.
        unit: Unit of the numbers, ``"relative"`` for a ratio.
        reason: What is compared, and why the value is what it is.
    """

    name: str
    float64: float
    float32: float | None = None
    unit: str
    reason: str

    def __post_init__(self) -> None:
        for value in (self.float64, self.float32):
            if value is not None and not 0.0 <= value < 1.0:
                raise InvalidInputError(
                    f"tolerance {self.name!r} must lie in [0, 1), got {value}; "
                    "a test that accepts errors of that size shows nothing"
                )


_ROWS = (
    # Exact or rounding only.
    Tolerance(
        name="determinism",
        float64=0.0,
        float32=0.0,
        unit="relative",
        reason="same input, same process, same threads: equal to the last bit",
    ),
    Tolerance(
        name="thread_count",
        float64=1e-6,
        float32=1e-4,
        unit="relative",
        reason="one against two threads: another summation order",
    ),
    Tolerance(
        name="single_precision_model",
        float64=1e-4,
        float32=1e-4,
        unit="relative",
        reason="a float32 network against the same network in float64",
    ),
    Tolerance(
        name="strided_input",
        float64=1e-12,
        float32=1e-5,
        unit="relative",
        reason="torch evaluates exp, log and pow of strided memory by another routine than of "
        "contiguous memory, which differs in the last bit; CHECKS.md 16 asks for exact equality "
        "where no such function is involved",
    ),
    Tolerance(
        name="batched_single",
        float64=1e-10,
        float32=1e-5,
        unit="eV",
        reason="many systems at once against one by one, with one-atom and zero-edge systems",
    ),
    Tolerance(
        name="energy_invariance",
        float64=1e-10,
        float32=1e-5,
        unit="eV/atom",
        reason="rotation, inversion, translation, permutation: summation order only",
    ),
    Tolerance(
        name="tensor_equivariance",
        float64=1e-8,
        float32=1e-4,
        unit="relative",
        reason="forces and Hamiltonian blocks under rotation, Wigner matrices in float64",
    ),
    Tolerance(
        name="locality",
        float64=1e-12,
        unit="eV",
        reason="an atom outside the receptive field changes nothing",
    ),
    Tolerance(
        name="extensivity",
        float64=1e-9,
        float32=1e-4,
        unit="eV",
        reason="two copies 100 Å apart minus the sum",
    ),
    # Derivatives.
    Tolerance(
        name="forces",
        float64=1e-6,
        unit="eV/Å",
        reason="against a central difference with h = 1e-4 Å; useless in float32",
    ),
    Tolerance(
        name="forces_extrapolated",
        float64=1e-8,
        unit="eV/Å",
        reason="against a Richardson or Ridders difference",
    ),
    Tolerance(
        name="stress",
        float64=1e-7,
        unit="eV/Å³",
        reason="against strain differences",
    ),
    Tolerance(
        name="cutoff_energy",
        float64=1e-8,
        unit="eV",
        reason="jump of the energy when an atom crosses the cutoff",
    ),
    Tolerance(
        name="cutoff_forces",
        float64=1e-5,
        unit="eV/Å",
        reason="jump of the forces when an atom crosses the cutoff",
    ),
    Tolerance(
        name="energy_drift",
        float64=1e-6,
        unit="eV/atom/ps",
        reason="slope of the total energy in NVE",
    ),
    Tolerance(
        name="energy_sum",
        float64=1e-10,
        float32=1e-5,
        unit="eV/atom",
        reason="per-atom energies against the energy: summation order only",
    ),
    Tolerance(
        name="far_translation",
        float64=1e-7,
        unit="eV/atom",
        reason="1e6 Å from the origin coordinates are good to 1e-10 Å, with forces of up to 100 eV/Å",
    ),
    Tolerance(
        name="extxyz_round_trip",
        float64=1e-8,
        unit="eV",
        reason="extxyz writes eight decimals; measured 5e-9 with ASE's own calculators",
    ),
    # Statistics.
    Tolerance(
        name="flow_log_determinant",
        float64=1e-8,
        unit="dimensionless",
        reason="log-determinant of a flow against the Jacobian by automatic differentiation",
    ),
    Tolerance(
        name="flow_inverse",
        float64=1e-6,
        unit="coordinate",
        reason="inverse(forward(x)) against x",
    ),
    Tolerance(
        name="chi_square_p",
        float64=1e-4,
        unit="probability",
        reason="smallest p of a chi-square test against exact enumeration, seed fixed beforehand",
    ),
    # Functionals at a point: no grid, no SCF.
    Tolerance(
        name="xc_potential",
        float64=1e-7,
        unit="relative",
        reason="v_xc against differences of the energy density, relative to that energy density",
    ),
    Tolerance(
        name="xc_kernel",
        float64=1e-7,
        unit="relative",
        reason="f_xc against differences of v_xc, relative to v_xc",
    ),
    Tolerance(
        name="xc_third_derivative",
        float64=1e-6,
        unit="relative",
        reason="directional third derivative against differences of f_xc; each order costs a digit",
    ),
    Tolerance(
        name="xc_fast_path",
        float64=1e-9,
        unit="relative",
        reason="exc_vxc and exc_vxc_fxc of the functional against automatic differentiation; exact up "
        "to rounding, which the hand-written order of operations amplifies by cancellation; measured "
        "4e-14 (first) and 8e-13 (second) for the constrained form with random weights",
    ),
    Tolerance(
        name="xc_symmetry",
        float64=1e-10,
        unit="relative",
        reason="spin flip, and spin 0 against spin 1 at zero polarization: rounding only",
    ),
    Tolerance(
        name="xc_independence",
        float64=1e-11,
        unit="relative",
        reason="one point among others against alone: matrix products of another shape",
    ),
    Tolerance(
        name="xc_zero_density",
        float64=1e-12,
        unit="hartree bohr^-3",
        reason="the energy density where there are no electrons",
    ),
    # Grid and SCF (atomic units).
    Tolerance(
        name="scf_equivalence",
        float64=1e-9,
        unit="hartree",
        reason="RKS = UKS = GKS on a closed shell, same grid, SCF converged to 1e-11: they differ "
        "by rounding only, measured 1e-13",
    ),
    Tolerance(
        name="scf_gradient",
        float64=2e-5,
        unit="hartree/bohr",
        reason="analytic with grid response against differences of SCF energies; measured 2e-7",
    ),
    Tolerance(
        name="scf_size_consistency",
        float64=1e-6,
        unit="hartree",
        reason="two copies 100 Å apart minus the sum; the partition of the grid overlaps",
    ),
    Tolerance(
        name="scf_rotation",
        float64=1e-6,
        unit="hartree",
        reason="a rotated molecule sees another grid; libxc's r2SCAN differs by 3e-7 at level 3",
    ),
    Tolerance(
        name="scf_rotation_trained",
        float64=1e-5,
        unit="hartree",
        reason="the same for trained weights on a level 4 grid: networks that read logarithms of the "
        "density have a rougher integrand; measured 3e-6 to 1e-5, ten times r2SCAN",
    ),
    Tolerance(
        name="scf_potential_matrix",
        float64=1e-7,
        unit="relative",
        reason="matrix of v_xc against the change of E_xc for a change of the density matrix",
    ),
    Tolerance(
        name="scf_kernel_matrix",
        float64=1e-5,
        unit="relative",
        reason="response of v_xc against its change; a potential with kinks (ELU) is only "
        "once differentiable, so a difference over many points converges linearly with its step",
    ),
    # Calculators with a grid or an SCF (eV, Å).
    Tolerance(
        name="scf_calculator_energy",
        float64=3e-5,
        unit="eV",
        reason="1e-6 hartree in eV: a converged SCF remembers where it started to within its threshold, "
        "and the partition of the grid overlaps between distant molecules",
    ),
    Tolerance(
        name="scf_calculator_rotation",
        float64=5e-4,
        unit="eV",
        reason="a rotated molecule sees another grid; PBE with def2-SVP on the default level 3 grid differs "
        "by 1e-4 eV for CH4 and OH",
    ),
    Tolerance(
        name="scf_calculator_forces",
        float64=1e-3,
        unit="eV/Å",
        reason="against differences of energies that are converged to a threshold, and under rotation, "
        "which turns the molecule against the grid",
    ),
    Tolerance(
        name="scf_energy_drift",
        float64=1e-4,
        unit="eV/atom/ps",
        reason="the noise of an SCF threshold of 1e-9 hartree in a run of a few dozen steps",
    ),
    Tolerance(
        name="third_party_energy",
        float64=1e-10,
        unit="hartree",
        reason="PBE in torch against libxc's PBE, same grid, both converged to 1e-12",
    ),
    Tolerance(
        name="third_party_gradient",
        float64=1e-8,
        unit="hartree/bohr",
        reason="the same for the nuclear gradient with grid response",
    ),
    Tolerance(
        name="third_party_excitation",
        float64=1e-8,
        unit="hartree",
        reason="the same for TDA and TDDFT excitation energies",
    ),
    Tolerance(
        name="third_party_hessian",
        float64=1e-6,
        unit="hartree/bohr²",
        reason="the same for the nuclear Hessian, whose response equations PySCF iterates",
    ),
)

TABLE: Mapping[str, Tolerance] = MappingProxyType({row.name: row for row in _ROWS})
"""Row name to row, read-only."""


def tolerance(name: str, dtype: object = "float64") -> float:
    """Return the tolerance of one row.

    Args:
        name: Row of ``TABLE``.
        dtype: "float64" or "float32", or a torch or numpy dtype of that name.

    Raises:
        UnknownNameError: If there is no such row; the message lists the closest ones.
        InvalidInputError: If the row has no value for that dtype.
    """
    if name not in TABLE:
        raise unknown_name(
            "tolerance", name, TABLE, "New rows go into kakehashi_testing.tolerances."
        )
    precision = str(getattr(dtype, "__name__", dtype)).rpartition(".")[2]
    row = TABLE[name]
    value = {"float64": row.float64, "float32": row.float32}.get(precision)
    if value is None:
        offered = "float64" if row.float32 is None else "float64 and float32"
        raise InvalidInputError(
            f"tolerance {name!r} has no value for dtype {dtype!r}; it is given for {offered}"
        )
    return value
