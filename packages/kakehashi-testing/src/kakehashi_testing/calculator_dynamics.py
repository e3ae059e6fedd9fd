"""What molecular dynamics needs from a calculator: no jumps at cutoffs, no drift of the energy. eV, Å."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import combinations_with_replacement
from typing import TYPE_CHECKING

import numpy as np

from kakehashi_testing.calculator_samples import (
    SEED,
    Array,
    bare,
    energy_of,
    fresh,
    property_of,
    require_forces,
)
from kakehashi_testing.errors import require
from kakehashi_testing.tolerances import tolerance

if TYPE_CHECKING:
    from ase import Atoms
    from ase.calculators.calculator import Calculator

WALK_STEP = 1e-4
"""Å between two points of the walk through a cutoff."""

_WALK_HALF = 20
_REFINEMENTS = 3
_QUARTERING = (0.8, 1.2)
"""Allowed ratio of four times the fluctuation at half the time step to that at the whole one."""


def check_cutoff(
    calculator: Calculator,
    atoms: Atoms,
    *,
    cutoffs: Sequence[float] | None = None,
    smooth_derivatives: int = 1,
) -> None:
    """Walk pairs of atoms through the cutoffs and look for jumps.

    Jumps are told from slopes and kinks by refining the step: a jump stays.

    Args:
        calculator: Any ASE calculator.
        atoms: A structure whose elements are paired in all combinations; periodic ones in a large box.
        cutoffs: Distances, Å; what the calculator says unless given.
        smooth_derivatives: 0: only the energy is continuous; 1: also the forces.

    Raises:
        ConformanceError: If the energy or a force jumps, or no cutoff is known.
    """
    found = getattr(calculator, "cutoff_distances", ()) if cutoffs is None else cutoffs
    distances = sorted({float(value) for value in found})
    require(
        distances,
        f"{type(calculator).__name__} names no cutoff_distances; set them, or say why there are none: "
        'inapplicable_checks = {"cutoff": "..."}',
    )
    calculator = fresh(calculator)
    pairs = list(combinations_with_replacement(sorted(set(atoms.symbols)), 2))
    interacting = 0
    for first, second in pairs:
        for cutoff in distances:
            curve = _pair_curve(calculator, atoms, (first, second), 3.0 * max(distances))
            low, high = cutoff - _WALK_HALF * WALK_STEP, cutoff + _WALK_HALF * WALK_STEP
            interacting += abs(curve(0.7 * min(distances))[1]) > 0.0
            for k, (name, unit, row) in enumerate(
                (("energy", "eV", "cutoff_energy"), ("force", "eV/Å", "cutoff_forces"))
            ):
                if k > smooth_derivatives:
                    continue
                jump, place = _largest_jump(curve, k, low, high)
                require(
                    jump <= tolerance(row),
                    f"the {name} of {first}-{second} jumps by {jump:.1e} {unit} at {place:.6f} Å, allowed "
                    f"{tolerance(row):.0e}. Shift or switch it, or declare "
                    f"smooth_derivatives={k - 1} in the spec",
                )
    require(interacting, "nothing to test: no pair of atoms interacts inside the cutoff")


def _pair_curve(
    calculator: Calculator, atoms: Atoms, symbols: tuple[str, str], side: float
) -> Callable[[float], tuple[float, float]]:
    """Return the function distance -> (energy, derivative of the energy) of a pair of atoms."""
    from ase import Atoms as Structure

    pair = Structure(list(symbols), positions=np.zeros((2, 3)), info=bare(atoms).info)
    if atoms.pbc.any():
        # As periodic as the sample, with the two far from their images.
        pair.set_cell(np.eye(3) * side)
        pair.pbc = atoms.pbc
        pair.positions += 0.25 * side * atoms.pbc
    start = pair.positions.copy()
    direction = np.array([0.8, 0.6, 0.0])

    def curve(distance: float) -> tuple[float, float]:
        pair.positions[1] = start[1] + distance * direction
        energy = energy_of(calculator, pair)
        return energy, -float(property_of(calculator, "forces", pair)[1] @ direction)

    return curve


def _largest_jump(
    curve: Callable[[float], tuple[float, float]], order: int, low: float, high: float
) -> tuple[float, float]:
    """Return the largest jump of the energy (order 0) or slope (1) in an interval, and its place.

    The worst interval of a walk is walked again in finer steps: what changes smoothly, or has a kink,
    shrinks with the step.
    """
    jump = place = 0.0
    for _ in range(_REFINEMENTS):
        points = np.linspace(low, high, 2 * _WALK_HALF + 1)
        energies, slopes = np.array([curve(r) for r in points]).T
        if order == 0:
            # Less what the slopes explain.
            changes = np.diff(energies) - 0.5 * np.diff(points) * (slopes[1:] + slopes[:-1])
        else:
            changes = np.diff(slopes)
            changes = changes - np.median(changes)
        worst = int(np.argmax(np.abs(changes)))
        jump, low, high = float(abs(changes[worst])), points[worst], points[worst + 1]
        place = 0.5 * (low + high)
    return jump, place


def check_drift(
    calculator: Calculator,
    atoms: Atoms,
    *,
    timestep: float | None = None,
    temperature: float | None = None,
    n_steps: int = 400,
    scf: bool = False,
) -> None:
    """Run NVE dynamics: the total energy does not drift, and half the time step quarters its fluctuation.

    Velocity Verlet twice from the same start, with ``timestep`` and with half of it over the same time.

    Args:
        calculator: Any ASE calculator with smooth forces.
        atoms: The start; its masses count. Momenta are drawn at random unless it has some.
        timestep: In ASE's unit of time, Å sqrt(u / eV), which is the Lennard-Jones time where masses are 1
            and reduced units are used; 0.1 (with ``scf`` 0.2) over the
            frequency of the fastest vibration, in radians, unless given.
        temperature: Of the random momenta, k_B T in eV; unless given, such that the lightest atom moves by
            about 0.02 Å in the fastest vibration.
        n_steps: Steps with the whole time step.
        scf: Take the looser row of results that contain an iteration.

    Raises:
        ConformanceError: If the slope of the total energy per atom is larger than the row ``energy_drift``
            and what can be resolved in a run of that length, or the fluctuation does not shrink as it
            should.
    """
    calculator = fresh(calculator)
    start = bare(atoms)
    forces = property_of(calculator, "forces", start)
    require_forces(forces)
    frequency = _highest_frequency(calculator, start, n_iterations=3 if scf else 8)
    if timestep is None:
        timestep = (0.2 if scf else 0.1) / frequency
    if not start.get_momenta().any():
        _draw_momenta(start, temperature, frequency)
    coarse = _total_energies(calculator, start, timestep, n_steps)
    fine = _total_energies(calculator, start, 0.5 * timestep, 2 * n_steps)
    slope, uncertainty = _slope(fine, 0.5 * timestep)
    unit, factor = _time_unit(start)
    # Part of an oscillation looks like a slope of up to two amplitudes over the duration; a steady drift is
    # still found, since its own scatter is 0.29 of what it changes.
    resolution = 4.0 * uncertainty + 2.0 * _scatter(fine) / (timestep * n_steps)
    allowed = tolerance("scf_energy_drift" if scf else "energy_drift") + resolution * factor
    require(
        abs(slope) * factor <= allowed,
        f"the total energy drifts by {slope * factor:.1e} eV per atom and {unit} with a time step of "
        f"{0.5 * timestep:.3g} (Å sqrt(u/eV)), allowed {allowed:.1e}. Forces that are not the gradient of "
        "the energy, or a jump at a cutoff?",
    )
    ratio = float(_scatter(coarse) / _scatter(fine))
    floor = tolerance("scf_calculator_energy") / len(atoms) if scf else 1e-12
    if _scatter(fine) > 4.0 * floor:
        low, high = (4.0 * bound for bound in _QUARTERING)
        require(
            low <= ratio <= high,
            f"half the time step changes the fluctuation of the total energy by a factor of "
            f"{ratio:.2f}, not 4 (allowed {low:.1f} to {high:.1f}; time step {timestep:.3g}, fluctuation "
            f"{_scatter(coarse):.1e} eV per atom). Forces that are not the gradient of the energy, or too "
            "long a time step?",
        )


def _time_unit(atoms: Atoms) -> tuple[str, float]:
    """Return the unit of time of the table, and how many of ASE's units it has.

    No element has a mass of exactly 1: who sets all masses to 1 computes in reduced units.
    """
    from ase import units

    reduced = bool((atoms.get_masses() == 1.0).all())
    return ("unit of time", 1.0) if reduced else ("ps", 1000.0 * units.fs)


def _highest_frequency(calculator: Calculator, atoms: Atoms, *, n_iterations: int) -> float:
    """Return the largest vibrational frequency, radians per unit of time, by power iteration."""
    start, masses = atoms.positions.copy(), atoms.get_masses()[:, None]
    vector = np.random.default_rng(SEED).standard_normal(start.shape)
    trial, step, value = bare(atoms), 1e-3, 0.0
    for _ in range(n_iterations):
        vector /= np.linalg.norm(vector)
        change = np.zeros_like(start)
        for sign in (1.0, -1.0):
            trial.positions = start + sign * step * vector / np.sqrt(masses)
            change -= sign * property_of(calculator, "forces", trial)
        vector = change / (2.0 * step) / np.sqrt(masses)
        value = float(np.linalg.norm(vector))
    require(value > 0.0, "nothing to test: no force changes when atoms move")
    return float(np.sqrt(value))


def _draw_momenta(atoms: Atoms, temperature: float | None, frequency: float) -> None:
    masses = atoms.get_masses()[:, None]
    if temperature is None:
        # Amplitudes of about 0.02 Å in the fastest vibration of the lightest atom.
        temperature = float(masses.min()) * (0.02 * frequency) ** 2
    momenta = np.random.default_rng(SEED).standard_normal((len(atoms), 3))
    momenta *= np.sqrt(masses * temperature)
    flat = np.ptp(atoms.positions, axis=0) == 0.0
    if len(atoms) > 2 and flat.any() and not atoms.pbc.all():
        momenta[:, flat & ~atoms.pbc] = 0.0  # a two-dimensional system stays in its plane
    momenta -= momenta.mean(axis=0)
    atoms.set_momenta(momenta)


def _total_energies(calculator: Calculator, atoms: Atoms, timestep: float, n_steps: int) -> Array:
    """Return the total energy per atom after every step, eV."""
    from ase.md.verlet import VelocityVerlet

    moving = bare(atoms)
    moving.calc = calculator
    energies: list[float] = []
    dynamics = VelocityVerlet(moving, timestep=timestep)
    dynamics.attach(
        lambda: energies.append(
            (energy_of(calculator, moving) + moving.get_kinetic_energy()) / len(moving)
        )
    )
    dynamics.run(n_steps)
    return np.array(energies)


def _scatter(energies: Array) -> float:
    return float(np.std(energies))


def _slope(energies: Array, timestep: float) -> tuple[float, float]:
    """Return slope per unit of time and its uncertainty, from the slopes of eight blocks of means."""
    n_blocks = 8
    usable = len(energies) // n_blocks * n_blocks
    means = energies[:usable].reshape(n_blocks, -1).mean(axis=1)
    times = (np.arange(n_blocks) + 0.5) * (usable / n_blocks) * timestep
    centered = times - times.mean()
    slope = float(centered @ means / (centered @ centered))
    residuals = means - means.mean() - slope * centered
    variance = float(residuals @ residuals) / (n_blocks - 2) / float(centered @ centered)
    return slope, variance**0.5
