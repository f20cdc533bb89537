"""How alike models are ranked when they are sampled with fewer sampler steps."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from scipy.stats import bootstrap, spearmanr

from memcontrol.measures.statistics.intervals import Interval

__all__ = ["AGAIN", "FEWEST", "FIRST", "agreement"]

FEWEST = 4
"""Fewest models whose ranks are compared."""
FIRST, AGAIN = "first", "again"
"""Prompts and noise that all numbers of steps share, and others."""


def agreement(scores: pd.DataFrame, steps: Sequence[int], reference: int, seed: int = 0) -> pd.DataFrame:
    """Correlate ranks at fewer steps with ranks at the reference.

    Args:
        scores: Columns model, steps, pictures (`first` or `again`), measure, value.
        steps: Fewer steps.
        reference: Steps of the reference.
        seed: Seed of the bootstrap over models.

    Returns:
        One row per measure and number of steps, with Spearman's rho in [-1, 1] (higher is better) and its 95 %
        interval over models. The row of the reference itself compares it with other prompts and noise at as many
        steps: how much of its ranking is luck. Fewer steps may agree better, as they share prompts and noise with it.
    """
    rows = []
    for name, part in scores.groupby("measure", sort=False):
        wide = part.pivot(index="model", columns=["steps", "pictures"], values="value").dropna()
        if len(wide) < FEWEST:
            continue
        for number, pictures in [*((number, FIRST) for number in steps), (reference, AGAIN)]:
            pair = wide[(reference, FIRST)].to_numpy(), wide[(number, pictures)].to_numpy()
            rho = _rank_correlation(pair, seed)
            rows.append({"measure": name, "steps": number, "rho": rho.value, "low": rho.low, "high": rho.high})
    return pd.DataFrame(rows)


def _rank_correlation(pair: tuple[np.ndarray, np.ndarray], seed: int) -> Interval:
    if min(np.ptp(values) for values in pair) == 0:
        return Interval(np.nan, np.nan, np.nan, len(pair[0]))

    def rho(x: np.ndarray, y: np.ndarray) -> float:
        has_order = np.ptp(x) > 0 and np.ptp(y) > 0  # a resample may be one model many times
        return float(spearmanr(x, y).statistic) if has_order else 0.0

    found = bootstrap(pair, rho, paired=True, vectorized=False, n_resamples=2000, method="percentile", rng=seed)
    low, high = found.confidence_interval
    return Interval(rho(*pair), float(low), float(high), len(pair[0]))
