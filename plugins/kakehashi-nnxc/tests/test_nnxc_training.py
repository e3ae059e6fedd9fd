"""Training: targets against libxc, slopes against differences, the fit against a case with a known answer."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from kakehashi_nnxc.descriptors import log_descriptors
from kakehashi_nnxc.four_layer_form import network, parameter_shapes
from kakehashi_nnxc.training import distillation
from kakehashi_nnxc.training.energy_fit import EnergyFit, Reaction, Species

libxc = pytest.importorskip("pyscf.dft.libxc")
density_variables = pytest.importorskip("kakehashi_pyscf.density_variables")


def closed_shell_density(n_points: int = 200, seed: int = 2) -> dict[str, object]:
    rng = np.random.default_rng(seed)
    n = 10 ** rng.uniform(-2, 1, n_points)
    sigma = (rng.random(n_points) * 4 * n ** (4 / 3)) ** 2
    tau = sigma / (8 * n) + rng.random(n_points) * 4 * n ** (5 / 3)
    variables = np.stack([n, sigma, tau])
    rho = density_variables.rho_from_variables(variables, 0)
    return {
        "variables": variables,
        "weights": rng.random(n_points),
        "spin": 0,
        "xc_rows": libxc.eval_xc1("r2scan", rho, 0, 1),
        "xc_energy": -1.0,
        "total_energy": -3.0,
    }


def test_targets_reproduce_the_base_functional():
    """Oracle: libxc r2SCAN at points moved along each descriptor, central differences, 1e-4."""
    density = closed_shell_density()
    targets = distillation.molecular_targets({"x": density}, np.random.default_rng(0))
    assert (targets.slope_known == 1).all()

    def y_at(inputs: np.ndarray) -> np.ndarray:
        u, s, t = (np.exp(inputs[:, k]) for k in (0, 2, 3))
        n = u**3 - 1e-7
        sigma = (s * u**4 - 1e-7) ** 2 - 4e-7
        tau = t * u**5 * 2 - 1e-7
        rho = density_variables.rho_from_variables(np.stack([n, np.maximum(sigma, 0), tau]), 0)
        return -libxc.eval_xc1("r2scan", rho, 0, 0)[0] * n / n ** (4 / 3)

    assert np.allclose(y_at(targets.inputs), targets.outputs, rtol=1e-6)
    for column in (0, 2, 3):
        step = np.zeros(4)
        step[column] = 1e-5
        difference = (y_at(targets.inputs + step) - y_at(targets.inputs - step)) / 2e-5
        assert abs(difference).max() > 1e-2
        typical = np.median(abs(difference - targets.slopes[:, column]))
        assert typical < 1e-4, column


def test_distillation_learns():
    """Oracle: the error it started from; a few hundred steps bring a factor of five."""
    rng = np.random.default_rng(0)
    targets = distillation.molecular_targets({"x": closed_shell_density(3000)}, rng)
    start = distillation.initial_parameters(seed=3)
    fitted = distillation.distill(
        start,
        targets,
        (targets.inputs[:100], targets.outputs[:100]),
        n_steps=300,
        rng=rng,
        batch=256,
        mesh_batch=32,
    )

    def error(parameters: dict[str, torch.Tensor]) -> float:
        y = network(parameters, torch.as_tensor(targets.inputs, dtype=torch.float32), "silu")
        return float(np.sqrt(np.mean((y.detach().numpy() - targets.outputs) ** 2)))

    assert error(fitted) < 0.2 * error(start)


def test_same_seed_same_weights():
    first, second = (distillation.initial_parameters(seed=3) for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert {n: tuple(t.shape) for n, t in first.items()} == parameter_shapes("MGGA")


def test_the_mesh_is_physical():
    """Oracle: r2SCAN stays within its bounds; y <= 1.174 exchange plus correlation."""
    inputs, outputs = distillation.mesh_targets("r2scan", np.random.default_rng(0))
    assert len(inputs) > 0.9 * distillation.N_MESH_POINTS
    assert outputs.min() > 0
    assert outputs.max() < 1.5
    assert inputs[:, 1].max() > 0.2  # polarized points are there


def test_the_fit_reaches_reference_energies_and_chooses_by_validation():
    """Oracle: references made with another network; residuals vanish, and the start is the worst step."""
    densities = {name: closed_shell_density(400, seed) for seed, name in enumerate("abc")}
    species = {name: Species.from_density(d) for name, d in densities.items()}
    start, target = (distillation.initial_parameters(seed=s) for s in (1, 2))

    def energy(name: str, parameters: dict[str, torch.Tensor]) -> float:
        y = network(parameters, species[name].inputs, "silu").double()
        return species[name].energy_rest - float((y * species[name].factors).sum())

    def reaction(coefficients: dict[str, float]) -> Reaction:
        value = sum(c * energy(n, target) for n, c in coefficients.items())
        return Reaction(
            name="r", coefficients=coefficients, reference=627.5094740631 * value, tolerance=1.0
        )

    training = [reaction({"a": 1.0, "b": -1.0}), reaction({"c": 1.0, "a": -0.5})]
    fit = EnergyFit(species, training, [reaction({"a": 0.5, "b": 0.5, "c": -1.0})])
    before = fit.run(start, n_steps=0)
    after = fit.run(start, n_steps=12)
    assert before.step == 0
    assert before.training_error > 10
    assert after.training_error < 0.2 * before.training_error
    assert after.validation_error <= before.validation_error


def test_species_drop_only_negligible_density():
    """Oracle: electrons counted with and without the cut."""
    density = closed_shell_density()
    variables = np.asarray(density["variables"]).copy()
    variables[0, :3] = 1e-9
    species = Species.from_density({**density, "variables": variables})
    assert len(species.factors) == variables.shape[1] - 3
    _, prefactor = log_descriptors(torch.from_numpy(variables[:, 3:]), 0, "MGGA")
    expected = torch.from_numpy(np.asarray(density["weights"])[3:]) * prefactor
    assert torch.allclose(species.factors, expected)
