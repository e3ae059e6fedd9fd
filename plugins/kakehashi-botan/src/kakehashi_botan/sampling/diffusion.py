"""The score variant: configurations out of uniform noise, with the same network as the flows.

Noise of width s takes a sample x0 to x = x0 + s e. The field is trained to return, on average, the way back,
v(x, s) = E[x0 - x | x], which is s^2 times the score of the noisy density; following dx/dlambda = v with
lambda = -ln s from a width of half the box, where positions are uniform, to a small one generates samples
whose density is known. It plays the part that the temperature has for flows.

Source:
    Y. Song et al., Score-Based Generative Modeling through Stochastic Differential Equations, ICLR 2021,
    arXiv:2011.13456, probability-flow ODE of the variance-exploding process; P. Vincent, Neural Comput. 23,
    1661 (2011), denoising score matching.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import torch

from kakehashi_botan.sampling.compiled_field import CompiledField
from kakehashi_botan.sampling.field_fitting import CHUNK_SAMPLES, RIDGE, set_weights
from kakehashi_botan.sampling.flow import integrate
from kakehashi_botan.sampling.liquids import Liquid, wrapped
from kakehashi_botan.sampling.radial_functions import SPACING
from kakehashi_botan.sampling.reweighting import WeightedSamples
from kakehashi_botan.sampling.transport_field import TransportField
from kakehashi_core.errors import InvalidInputError

FloatArray = npt.NDArray[np.float64]

SMALLEST_NOISE = 0.02
"""sigma_AA: below the amplitude of vibrations at low temperature."""
N_LEVELS = 16
N_STEPS = 64


def score_field(
    liquid: Liquid,
    *,
    smallest: float = SMALLEST_NOISE,
    spacing: float = SPACING,
    degree: int = 6,
) -> TransportField:
    """Return an untrained field whose "temperatures" are widths of noise, up to half the box.

    Args:
        liquid: What is generated.
        smallest: Width of the last noise, sigma_AA.
        spacing: Of the radial functions, sigma_AA.
        degree: Of the polynomials in the logarithm of the width.
    """
    widths = (smallest, 0.5 * liquid.edge)
    return TransportField(liquid, widths, spacing=spacing, nearest=0.0, exponents=(), degree=degree)


def fit_denoising(
    field: TransportField,
    samples: npt.ArrayLike,
    rng: np.random.Generator,
    *,
    n_levels: int = N_LEVELS,
    ridge: float = RIDGE,
) -> None:
    """Set the weights of a score field by linear least squares: v(x0 + s e, s) = -s e on average.

    Args:
        field: From ``score_field``; its weights are replaced.
        samples: Equilibrium samples of one temperature, (n_samples, n, dimension).
        rng: Noise.
        n_levels: Widths of noise, in equal ratios.
        ridge: Penalty on the weights, in units of the mean square of what they multiply.

    Raises:
        InvalidInputError: If there are fewer samples than make sense.
    """
    x = field.liquid.checked(samples)
    if len(x) < 10:
        raise InvalidInputError(f"{len(x)} samples were given; at least 10 are needed")
    size = field.pair_weights.numel() + field.vector_weights.numel()
    matrix, right = np.zeros((size, size)), np.zeros(size)
    for width in np.geomspace(*field.temperatures, n_levels):
        powers = field.powers(float(width)).numpy()
        square, mixed = _moments(field, x, float(width), rng)
        # Every width counts the same, as its score does in units of the noise.
        matrix += np.kron(np.outer(powers, powers), square) / width**2
        right += np.kron(powers, mixed) / width**2
    scale = np.sqrt(np.diag(matrix)) + 1e-100
    matrix = matrix / np.outer(scale, scale) + ridge * np.eye(size)
    set_weights(field, np.linalg.solve(matrix, right / scale) / scale)


def _moments(
    field: TransportField, x: FloatArray, width: float, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Return means of products of features, and of features with the way back."""
    square: FloatArray = np.zeros(0)
    mixed: FloatArray = np.zeros(0)
    for low in range(0, len(x), CHUNK_SAMPLES // 4):
        part = x[low : low + CHUNK_SAMPLES // 4]
        noise = width * rng.normal(size=part.shape)
        # The field conserves the center of mass, and cannot know where it was.
        noise -= noise.mean(axis=1, keepdims=True)
        with torch.no_grad():
            features = field.velocity_features(torch.as_tensor(part + noise)).flatten(0, 2).numpy()
        gram, back = features.T @ features / x.size, -features.T @ noise.ravel() / x.size
        square, mixed = (square + gram, mixed + back) if square.size else (gram, back)
    return square, mixed


def generated(
    field: TransportField,
    temperature: float,
    n_samples: int,
    rng: np.random.Generator,
    *,
    n_steps: int = N_STEPS,
) -> WeightedSamples:
    """Generate configurations from uniform noise, with weights for a temperature.

    The mean weight estimates Z over the volume to the power of the number of particles.

    Args:
        field: From ``score_field``, trained.
        temperature: Of the target, epsilon_AA / k_B.
        n_samples: How many.
        rng: Noise.
        n_steps: Steps of the integration.

    Raises:
        InvalidInputError: If a number makes no sense.
    """
    if n_samples < 1 or not temperature > 0.0:
        raise InvalidInputError(
            f"n_samples = {n_samples} and temperature = {temperature} must be positive"
        )
    liquid = field.liquid
    x = rng.random((n_samples, liquid.n_particles, liquid.dimension)) * liquid.edge
    small, large = field.temperatures
    x, determinants, _ = integrate(CompiledField(field), x, large, small, n_steps)
    x = wrapped(x, liquid.edge)
    return WeightedSamples(x, -liquid.energies(x) / temperature + determinants)
