"""Do chains agree with each other? R-hat and effective sample sizes, from arviz-stats."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from kakehashi_core.errors import InvalidInputError, UnsupportedError


def rhat(series: npt.ArrayLike) -> float:
    """Return the rank-normalized split R-hat; close to 1 if chains agree, below 1.01 as a rule.

    Args:
        series: (n_chains, n_measurements), at least two chains.

    Raises:
        InvalidInputError: For fewer than two chains or four measurements.
        UnsupportedError: If arviz-stats is not installed.

    Source:
        A. Vehtari et al., Bayesian Anal. 16, 667 (2021).
    """
    values = _several_chains(series)
    if np.ptp(values) == 0.0:
        return 1.0
    return float(_statistics().rhat(values, chain_axis=0, draw_axis=1, method="rank"))


def effective_sample_size(series: npt.ArrayLike) -> float:
    """Return the bulk effective sample size of all chains together.

    Args:
        series: (n_chains, n_measurements), at least two chains.

    Raises:
        InvalidInputError: For fewer than two chains or four measurements.
        UnsupportedError: If arviz-stats is not installed.

    Source:
        A. Vehtari et al., Bayesian Anal. 16, 667 (2021).
    """
    values = _several_chains(series)
    if np.ptp(values) == 0.0:
        return float(values.size)
    return float(_statistics().ess(values, chain_axis=0, draw_axis=1, method="bulk"))


def _statistics() -> Any:
    try:
        from arviz_stats.base import array_stats  # type: ignore[attr-defined]
    except ImportError as error:
        raise UnsupportedError(
            "R-hat and effective sample sizes need arviz-stats: pip install 'kakehashi-core[chains]'"
        ) from error
    return array_stats


def _several_chains(series: npt.ArrayLike) -> npt.NDArray[np.float64]:
    values = np.asarray(series, dtype=float)
    if values.ndim != 2 or len(values) < 2 or values.shape[1] < 4:
        raise InvalidInputError(
            f"measurements have shape {values.shape}; (n_chains, n_measurements) with at least two chains "
            "and four measurements of each is needed. Run more chains, or longer."
        )
    return values
