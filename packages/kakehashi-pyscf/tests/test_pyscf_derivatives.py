"""Pointwise derivatives: libxc for value, gradient and curvature; closed forms at the edges."""

from __future__ import annotations

import numpy as np
import pytest
from closed_form_functionals import KineticCorrection, PBEExchange, SlaterExchange
from pyscf.dft import libxc

from kakehashi_core.errors import InvalidInputError, UnsupportedError
from kakehashi_pyscf.density_variables import N_VARIABLES, density_variables, rho_from_variables
from kakehashi_pyscf.derivatives import CHUNK_POINTS, DENSITY_FLOOR, xc_derivatives
from kakehashi_pyscf.functional_library import FunctionalLibrary


def physical_density(spin: int, n_points: int, seed: int = 3) -> np.ndarray:
    rng = np.random.default_rng(seed)
    rho = np.empty((spin + 1, 5, n_points))
    rho[:, 0] = 10 ** rng.uniform(-4, 1, (spin + 1, n_points))
    rho[:, 1:4] = rng.standard_normal((spin + 1, 3, n_points)) * rho[:, :1] ** (4 / 3)
    weizsaecker = (rho[:, 1:4] ** 2).sum(1) / (8 * rho[:, 0])
    rho[:, 4] = weizsaecker + rng.random((spin + 1, n_points)) * 3 * rho[:, 0] ** (5 / 3)
    return rho if spin else rho[0]


@pytest.mark.parametrize("spin", [0, 1])
@pytest.mark.parametrize(
    ("functional", "name", "n_rows"), [(SlaterExchange(), "lda,", 1), (PBEExchange(), "pbe,", 4)]
)
def test_all_orders_against_libxc(functional, name, n_rows, spin):
    """Oracle: libxc's eval_xc1 with its row order, relative 1e-10 (f_xc 1e-8)."""
    rho = physical_density(spin, CHUNK_POINTS + 7)[..., :n_rows, :]
    rho = rho[..., 0, :] if n_rows == 1 else rho
    expected = libxc.eval_xc1(name, rho, spin, 2)
    variables = density_variables(rho, functional.family, spin)
    result = xc_derivatives(functional, variables, spin, 2)
    n_first = 1 + N_VARIABLES[functional.family, spin]
    assert result.shape == expected.shape
    assert np.allclose(result[:n_first], expected[:n_first], rtol=1e-10, atol=1e-14)
    assert np.allclose(
        result[n_first:], expected[n_first:], rtol=1e-8, atol=1e-8
    )  # libxc leaves 1e-9 where zero is exact
    for deriv, n_out in ((0, 1), (1, n_first)):
        lower = xc_derivatives(functional, variables, spin, deriv)
        assert np.allclose(lower, result[:n_out], rtol=1e-14)


@pytest.mark.parametrize("spin", [0, 1])
def test_meta_gga_curvature_against_differences_of_the_slope(spin):
    """Oracle: central differences of the first derivatives, relative 1e-5 at every point."""
    variables = density_variables(physical_density(spin, 50), "MGGA", spin)
    n_var = len(variables)
    second = xc_derivatives(KineticCorrection(), variables, spin, 2)[1 + n_var :]
    for k, (i, j) in enumerate(zip(*np.triu_indices(n_var), strict=True)):
        # s_ab passes through zero; its natural size is sqrt(s_aa s_bb).
        size = np.sqrt(variables[2] * variables[4]) if (spin, j) == (1, 3) else variables[j]
        step = 1e-4 * size
        slopes = []
        for sign in (1, -1):
            moved = variables.copy()
            moved[j] += sign * step
            slopes.append(xc_derivatives(KineticCorrection(), moved, spin, 1)[1 + i])
        difference = (slopes[0] - slopes[1]) / (2 * step)
        assert np.allclose(second[k], difference, rtol=1e-5, atol=1e-8 / size.min()), (i, j)


def test_empty_points_and_channels_give_zeros_not_nan():
    """Oracle: nothing there; and one electron of spin up has the energy of E[2n]/2."""
    variables = np.zeros((5, 3))
    variables[:, 0] = [0.3, 0.0, 0.05, 0.0, 0.0]
    variables[:, 1] = DENSITY_FLOOR / 4
    out = xc_derivatives(PBEExchange(), variables, 1, 2)
    assert np.isfinite(out).all()
    assert not out[:, 1:].any()
    doubled = xc_derivatives(PBEExchange(), np.array([[0.6], [0.2]]), 0, 0)
    assert out[0, 0] == pytest.approx(doubled[0, 0], rel=1e-9)
    assert out[2, 0] != 0.0  # the potential of the empty channel's virtual orbitals
    assert out[5, 0] == 0.0  # its gradient term is noise


def test_third_order_is_refused():
    with pytest.raises(UnsupportedError, match="order 3"):
        xc_derivatives(SlaterExchange(), np.ones((1, 4)), 0, 3)


def test_variables_and_rho_are_inverse():
    """Oracle: the round trip, also for six-row arrays and slightly negative densities."""
    for spin in (0, 1):
        variables = density_variables(physical_density(spin, 40), "MGGA", spin)
        again = density_variables(rho_from_variables(variables, spin), "MGGA", spin)
        assert np.allclose(again, variables, rtol=1e-12)
    rho = physical_density(0, 10)
    six = np.insert(rho, 4, 99.0, axis=0)
    assert np.array_equal(density_variables(six, "MGGA", 0), density_variables(rho, "MGGA", 0))
    rho[0, 0] = rho[4, 1] = -1e-16
    assert (density_variables(rho, "MGGA", 0)[[0, 2]] >= 0).all()


def test_a_density_that_is_not_finite_is_refused():
    rho = physical_density(0, 10)
    rho[2, 7] = np.nan
    with pytest.raises(InvalidInputError, match="grid point 7"):
        density_variables(rho, "GGA", 0)
    with pytest.raises(InvalidInputError, match="needs 5 density rows"):
        density_variables(rho[:4], "MGGA", 0)


@pytest.mark.parametrize("spin", [0, 1])
def test_eval_xc_layouts_agree_with_libxc(spin):
    """Oracle: libxc's classic eval_xc and eval_xc_eff."""
    library = FunctionalLibrary({"test-pbe-x": PBEExchange()})
    rho = physical_density(spin, 30)[..., :4, :]
    pair = tuple(rho) if spin else rho
    ours, theirs = (
        lib.eval_xc(n, pair, spin) for lib, n in ((library, "test-pbe-x"), (libxc, "pbe,"))
    )
    assert np.allclose(ours[0], theirs[0])
    for mine, other in zip(ours[1], theirs[1], strict=False):
        if other is not None:
            assert np.allclose(mine, other)
    assert np.allclose(
        library.eval_xc_eff("test-pbe-x", rho, 2, spin=spin),
        libxc.eval_xc_eff("pbe,", rho, 2, spin=spin),
    )
