"""Molecular dynamics of mixtures in a compiled loop, for runs that are long.

Velocity Verlet at constant energy, with Langevin friction, or with the stochastic velocity rescaling of
Bussi et al. Positions are never wrapped: a particle's displacement is the difference of two of them. For
short runs, or other integrators, the calculator ``ka-lj`` works in ASE's own dynamics.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from kakehashi_botan import pair_kernels
from kakehashi_botan.mixtures import Mixture, checked_types
from kakehashi_botan.pair_potential import SKIN, MixturePotential, PairSums
from kakehashi_core.checkpoints import load_checkpoint, read_manifest, save_checkpoint
from kakehashi_core.errors import InvalidInputError, KakehashiError
from kakehashi_core.random_streams import spawn

Ensemble = Literal["nve", "nvt", "langevin"]
FloatArray = npt.NDArray[np.float64]
IntArray = npt.NDArray[np.int64]

_THERMOSTATS = {
    "nve": pair_kernels.NVE,
    "langevin": pair_kernels.LANGEVIN,
    "nvt": pair_kernels.RESCALING,
}
CHECKPOINT_KIND = "kakehashi-botan molecular dynamics"


class UnstableRunError(KakehashiError):
    """A particle has gone astray: the timestep is too long, or particles overlapped at the start."""


class MolecularDynamics:
    """A system of particles of mass 1 and its state in time, in reduced units.

    Attributes:
        positions: Unwrapped, (n, 3), sigma_AA.
        velocities: (n, 3), sigma_AA / tau_LJ.
        forces: At these positions, (n, 3), epsilon_AA / sigma_AA.
        types: Species, (n,).
        cell: Rows are lattice vectors, (3, 3).
        pbc: Which directions are periodic, (3,).
        n_steps: Steps made so far.
        seed: Seed of the thermostat's random numbers, recorded also where it was not given.
    """

    def __init__(
        self,
        mixture: Mixture,
        positions: npt.ArrayLike,
        types: npt.ArrayLike,
        cell: npt.ArrayLike,
        *,
        timestep: float,
        velocities: npt.ArrayLike | None = None,
        ensemble: Ensemble = "nve",
        temperature: float | None = None,
        relaxation_time: float = 1.0,
        pbc: npt.ArrayLike = True,
        skin: float = SKIN,
        seed: int | None = None,
    ) -> None:
        """Set a system up.

        Args:
            mixture: What interacts how.
            positions: (n, 3), sigma_AA, wrapped or not.
            types: Species, (n,), 0 for A.
            cell: (3, 3), rows are lattice vectors.
            timestep: tau_LJ.
            velocities: (n, 3); drawn from the Maxwell-Boltzmann distribution, without total momentum,
                by default.
            ensemble: "nve"; "nvt", stochastic rescaling of all velocities, which disturbs the dynamics
                least; "langevin", friction and noise on every particle.
            temperature: epsilon_AA / k_B; of the thermostat and of velocities that are drawn.
            relaxation_time: Of the thermostat, tau_LJ; one over the friction of "langevin".
            pbc: Which directions are periodic. A system with ``(True, True, False)`` and no extent in z
                is two-dimensional: its velocities stay in the plane.
            skin: How much further the list of pairs reaches, sigma_AA.
            seed: Of drawn velocities and the thermostat; None draws one and records it.

        Raises:
            InvalidInputError: If shapes or numbers do not fit together.
        """
        self.positions = _array("positions", positions, (None, 3))
        n = len(self.positions)
        self.types = checked_types(types, mixture.n_species)
        if self.types.shape != (n,):
            raise InvalidInputError(f"types has shape {self.types.shape}; it must be ({n},).")
        self.cell = _array("cell", cell, (3, 3))
        self.pbc = np.broadcast_to(np.asarray(pbc, dtype=bool), (3,)).copy()
        if ensemble not in get_args(Ensemble):
            raise InvalidInputError(
                f"ensemble is {ensemble!r}; it must be one of {', '.join(get_args(Ensemble))}."
            )
        if temperature is None and (velocities is None or ensemble != "nve"):
            raise InvalidInputError(
                f"temperature is missing: ensemble {ensemble!r} or the velocities to draw need it, in "
                "epsilon_AA / k_B."
            )
        for name, value in (
            ("timestep", timestep),
            ("relaxation_time", relaxation_time),
            ("temperature", 1.0 if temperature is None else temperature),
        ):
            if not (math.isfinite(value) and value > 0.0):
                raise InvalidInputError(f"{name} is {value}; it must be positive and finite.")
        self.timestep = float(timestep)
        self.ensemble: Ensemble = ensemble
        self.temperature = temperature
        self.relaxation_time = float(relaxation_time)
        (self._rng, start), self.seed = spawn(seed, 2)
        self.n_steps = 0
        self.potential = MixturePotential(mixture, skin=skin)
        self.velocities = (
            maxwell_boltzmann(n, float(temperature or 0.0), start, n_dimensions=self.n_dimensions)
            if velocities is None
            else _array("velocities", velocities, (n, 3))
        )
        self.forces = self.potential.forces(self.positions, *self._system)

    @property
    def n_dimensions(self) -> int:
        """2 for a flat system that is periodic in its plane only, else 3."""
        flat = bool(self.pbc[:2].all()) and not self.pbc[2] and np.ptp(self.positions[:, 2]) == 0.0
        return 2 if flat else 3

    @property
    def time(self) -> float:
        """Time since the start, tau_LJ."""
        return self.n_steps * self.timestep

    @property
    def n_degrees_of_freedom(self) -> int:
        """Velocity components, without the total momentum where it is conserved."""
        free = 0 if self.ensemble == "langevin" else 1
        return self.n_dimensions * max(len(self.positions) - free, 1)

    @property
    def kinetic_energy(self) -> float:
        """Kinetic energy, epsilon_AA."""
        return float(pair_kernels.kinetic_energy(self.velocities))

    @property
    def kinetic_temperature(self) -> float:
        """Temperature from the velocities, epsilon_AA / k_B."""
        return 2.0 * self.kinetic_energy / self.n_degrees_of_freedom

    def potential_sums(self) -> PairSums:
        """Return energies, forces and virial of the present positions."""
        return self.potential.evaluate(self.positions, *self._system)

    def run(self, n_steps: int) -> None:
        """Make steps.

        Raises:
            InvalidInputError: If their number is negative.
            UnstableRunError: If a particle leaves the range of finite numbers.
        """
        if n_steps < 0:
            raise InvalidInputError(f"n_steps is {n_steps}; time goes forward only")
        left = n_steps
        while left > 0:
            pairs = self.potential.pairs(self.positions, *self._system)
            x, y, z = np.empty((3, len(pairs.owner)))
            done, begun = pair_kernels.advance(
                left,
                self.positions,
                self.velocities,
                self.forces,
                self.potential.reference,
                (0.5 * self.potential.skin) ** 2,
                pairs.owner,
                pairs.offset,
                pairs.species,
                pairs.bounds,
                pairs.neighbors,
                self.potential.terms,
                x,
                y,
                z,
                self.timestep,
                _THERMOSTATS[self.ensemble],
                self._thermostat_numbers(),
                self.n_dimensions,
                self._rng,
            )
            left -= done
            self.n_steps += done
            if begun:
                self._finish_step()
                left -= 1

    def save(self, path: str | Path) -> None:
        """Write everything that a bit for bit continuation needs; atomic.

        Args:
            path: Ends in ".safetensors"; a manifest goes beside it.
        """
        import torch

        mixture = self.potential.mixture
        tensors = {
            "positions": self.positions,
            "velocities": self.velocities,
            # The order of the pair list, and with it the last digit of a force, follows from these.
            "reference": self.potential.reference,
            "types": self.types,
            "cell": self.cell,
        }
        manifest = {
            "kind": CHECKPOINT_KIND,
            "n_atoms": len(self.types),
            "n_steps": self.n_steps,
            "random_state": json.dumps(self._rng.bit_generator.state),
            "pbc": self.pbc.tolist(),
            "mixture": {
                "name": mixture.name,
                "epsilon": mixture.epsilon,
                "sigma": mixture.sigma,
                "cutoff": mixture.cutoff,
                "shift": mixture.shift,
            },
            "options": {
                "timestep": self.timestep,
                "ensemble": self.ensemble,
                "temperature": self.temperature,
                "relaxation_time": self.relaxation_time,
                "skin": self.potential.skin,
                "seed": self.seed,
            },
        }
        arrays = {name: torch.from_numpy(a.copy()) for name, a in tensors.items()}
        save_checkpoint(path, arrays, manifest=manifest)

    @classmethod
    def resume(cls, path: str | Path) -> Self:
        """Read a run from a file that ``save`` wrote.

        Raises:
            CheckpointError: If the file is damaged or no run.
            InvalidInputError: If it holds something else.
        """
        manifest = read_manifest(path)
        if manifest.get("kind") != CHECKPOINT_KIND:
            raise InvalidInputError(
                f"{Path(path).name} is no molecular-dynamics checkpoint but {manifest.get('kind')!r}."
            )
        n = int(manifest["n_atoms"])
        shapes = dict.fromkeys(("positions", "velocities", "reference"), (n, 3))
        tensors = load_checkpoint(path, shapes={**shapes, "types": (n,), "cell": (3, 3)}).tensors
        arrays = {name: tensor.numpy() for name, tensor in tensors.items()}
        stored = manifest["mixture"]
        mixture = Mixture(
            name=stored["name"],
            shift=stored["shift"],
            **{k: tuple(map(tuple, stored[k])) for k in ("epsilon", "sigma", "cutoff")},
        )
        run = cls(
            mixture,
            arrays["reference"],
            arrays["types"],
            arrays["cell"],
            velocities=arrays["velocities"],
            pbc=manifest["pbc"],
            **manifest["options"],
        )
        # The constructor has built the list for the reference positions; it holds for the present ones.
        run.positions = arrays["positions"].copy()
        run.forces = run.potential.forces(run.positions, *run._system)
        run.n_steps = int(manifest["n_steps"])
        run._rng.bit_generator.state = json.loads(manifest["random_state"])
        return run

    @property
    def _system(self) -> tuple[IntArray, FloatArray, npt.NDArray[np.bool_]]:
        return self.types, self.cell, self.pbc

    def _finish_step(self) -> None:
        """Complete a step whose new positions have outrun the pair list."""
        lost = np.flatnonzero(~np.isfinite(self.positions).all(axis=1))
        if lost.size:
            raise UnstableRunError(
                f"the position of particle {lost[0]} is not finite after step {self.n_steps + 1}; timestep "
                f"{self.timestep} is too long for these forces, or particles overlapped at the start."
            )
        self.forces = self.potential.forces(self.positions, *self._system)
        pair_kernels.kick(self.velocities, self.forces, 0.5 * self.timestep)
        if self.ensemble == "nvt":
            persistence, temperature, n_degrees = self._thermostat_numbers()
            pair_kernels.rescale(self.velocities, persistence, temperature, n_degrees, self._rng)
        self.n_steps += 1

    def _thermostat_numbers(self) -> tuple[float, float, float]:
        """Return the three numbers that ``pair_kernels.advance`` takes."""
        temperature = float(self.temperature or 0.0)
        persistence = math.exp(-self.timestep / self.relaxation_time)
        if self.ensemble == "langevin":
            return persistence, math.sqrt(temperature * (1.0 - persistence**2)), 0.0
        return persistence, temperature, float(self.n_degrees_of_freedom)


def maxwell_boltzmann(
    n_atoms: int, temperature: float, rng: np.random.Generator, *, n_dimensions: int = 3
) -> FloatArray:
    """Draw velocities of particles of mass 1 without total momentum.

    Args:
        n_atoms: Number of particles.
        temperature: epsilon_AA / k_B.
        rng: Source of randomness.
        n_dimensions: 2 leaves the third component zero.

    Returns:
        (n_atoms, 3), sigma_AA / tau_LJ.
    """
    velocities = np.zeros((n_atoms, 3))
    velocities[:, :n_dimensions] = rng.normal(0.0, math.sqrt(temperature), (n_atoms, n_dimensions))
    if n_atoms > 1:
        velocities -= velocities.mean(axis=0)
    return velocities


def _array(name: str, values: npt.ArrayLike, shape: tuple[int | None, ...]) -> FloatArray:
    """Return a fresh float64 array of this shape without NaN."""
    array: FloatArray = np.array(values, dtype=np.float64, order="C")
    fits = array.ndim == len(shape) and all(
        wanted in (None, size) for wanted, size in zip(shape, array.shape, strict=True)
    )
    if not fits or array.size == 0:
        wanted = ", ".join("n" if size is None else str(size) for size in shape)
        raise InvalidInputError(f"{name} has shape {array.shape}; it must be ({wanted}).")
    wrong = np.argwhere(~np.isfinite(array))
    if wrong.size:
        index = tuple(int(k) for k in wrong[0])
        raise InvalidInputError(f"{name}{list(index)} is {array[index]}; all must be finite.")
    return array
