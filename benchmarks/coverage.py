"""How often 95 % intervals hold the truth, and how often tests raise false alarms, on patients of known distribution.

Patients have one to twelve images, most of them few; values are alike within a patient.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator

import numpy as np
import pandas as pd
import torch
from scipy.stats import norm

from memcontrol.measures.aggregators import rows_of
from memcontrol.measures.functional.frechet import frechet_distance
from memcontrol.measures.functional.kernel import kernel_deviations
from memcontrol.measures.functional.membership import membership_auc
from memcontrol.measures.statistics.intervals import Interval, mean_interval
from memcontrol.measures.statistics.jackknife import by_groups
from memcontrol.measures.statistics.permutation import Pooled, p_gap, p_labels, p_mean
from memcontrol.measures.statistics.shares import share_interval

WIDTH = 16
Sampler = Callable[[np.random.Generator, int], Interval]


def patients(rng: np.random.Generator, count: int, prefix: str = "") -> tuple[np.ndarray, list[str]]:
    """Return the patient of each image, as number and as name."""
    more = (rng.random(count) < 0.1) * rng.integers(0, 8, count)
    owner = np.repeat(np.arange(count), np.minimum(rng.geometric(0.35, count) + more, 12))
    return owner, [f"{prefix}{i}" for i in owner]


def plain(rng: np.random.Generator, owner: np.ndarray) -> np.ndarray:
    """Return normal values with variance 1."""
    return 0.7 * rng.normal(size=owner.max() + 1)[owner] + 0.714 * rng.normal(size=len(owner))


def skewed(rng: np.random.Generator, owner: np.ndarray) -> np.ndarray:
    """Return log-normal values."""
    return np.exp(0.6 * rng.normal(size=owner.max() + 1)[owner] + 0.4 * rng.normal(size=len(owner)))


def mean_of(values: Callable[[np.random.Generator, np.ndarray], np.ndarray]) -> Sampler:
    """Return intervals of means."""

    def one(rng: np.random.Generator, n: int) -> Interval:
        owner, names = patients(rng, n)
        return mean_interval(values(rng, owner), names, num_replicates=1000)

    return one


def share_of(share: float) -> Sampler:
    """Return intervals of shares."""

    def one(rng: np.random.Generator, n: int) -> Interval:
        owner, names = patients(rng, n)
        odds = rng.beta(3 * share, 3 * (1 - share), n)
        return share_interval((rng.random(len(owner)) < odds[owner]).astype(float), names)

    return one


def area_of(shift: float) -> Sampler:
    """Return intervals of areas under ROC curves."""

    def one(rng: np.random.Generator, n: int) -> Interval:
        (a, of_a), (b, of_b) = patients(rng, n, "a"), patients(rng, n, "b")
        return membership_auc(plain(rng, a) + shift, plain(rng, b), of_a, of_b)

    return one


def distance_of(name: str, shift: float) -> Sampler:
    """Return intervals of distances of features."""

    def features(rng: np.random.Generator, owner: np.ndarray, moved: float) -> torch.Tensor:
        centres = rng.normal(size=(owner.max() + 1, WIDTH))[owner]
        return torch.from_numpy(moved + 0.7 * centres + 0.714 * rng.normal(size=centres.shape))

    def one(rng: np.random.Generator, n: int) -> Interval:
        (a, of_a), (b, of_b) = patients(rng, n, "a"), patients(rng, n, "b")
        x, y = features(rng, a, shift), features(rng, b, 0.0)
        if name == "kid":
            return kernel_deviations(x, y, of_a, of_b).interval()
        return by_groups(rows_of(frechet_distance, x, y), of_a, of_b).interval(0.0)

    return one


ESTIMATES: dict[str, tuple[Sampler, float | None]] = {
    "mean": (mean_of(plain), 0.0),
    "mean, log-normal": (mean_of(skewed), float(np.exp((0.6**2 + 0.4**2) / 2))),
    "share of 5 %": (share_of(0.05), 0.05),
    "share of 30 %": (share_of(0.3), 0.3),
    "AUC of 0.5": (area_of(0.0), 0.5),
    "AUC of 0.8": (area_of(float(norm.ppf(0.8)) * 2**0.5), 0.8),
    "KID, equal": (distance_of("kid", 0.0), None),
    "KID, apart": (distance_of("kid", 0.3), None),
    "FID, equal": (distance_of("fid", 0.0), None),
    "FID, apart": (distance_of("fid", 0.3), None),
}
"""Sampler of intervals and truth; where that is the expectation at this n, it is the mean of many values."""


def coverage(sizes: list[int], runs: int) -> pd.DataFrame:
    """Return the share of intervals that hold the truth, by estimate and number of patients."""
    table = {}
    for name, (sampler, truth) in ESTIMATES.items():
        line = {}
        for n in sizes:
            count = max(40, runs // 5) if name.startswith("FID") else runs
            found = [sampler(np.random.default_rng(run), n) for run in range(count)]
            middle = truth if truth is not None else float(np.mean([f.value for f in found]))
            line[n] = float(np.mean([f.low <= middle <= f.high for f in found]))
        table[name] = line
    return pd.DataFrame(table).T


def alarms(n: int, runs: int, levels: tuple[float, ...] = (0.001, 0.01, 0.05)) -> pd.DataFrame:
    """Return the share of tests on exchangeable patients that raise a false alarm, by test and level."""

    def tests(seed: int) -> Iterator[tuple[str, float]]:
        rng = np.random.default_rng(seed)
        (a, of_a), (b, of_b) = patients(rng, n, "a"), patients(rng, 2 * n, "b")
        x, y = skewed(rng, a), skewed(rng, b)
        pooled = Pooled.of(x, y, of_a, of_b)
        yield "gap of means", p_gap(x, y, of_a, of_b, seed)
        yield "area, two-sided", p_labels(pooled, pooled.auc, seed, two_sided=True)
        yield "paired mean", p_mean(plain(rng, a), of_a, seed)

    found = pd.DataFrame([dict(tests(seed)) for seed in range(runs)])
    return pd.DataFrame({f"{level:g}": (found <= level).mean() for level in levels})


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=400)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10, 20, 64])
    given = parser.parse_args()
    print(f"Coverage of 95 % intervals, {given.runs} runs (FID: a fifth), by patients of a side")
    print(coverage(given.sizes, given.runs).round(3).to_string())
    for n in given.sizes[:2]:
        print(f"\nFalse alarms with {n} and {2 * n} patients, {5 * given.runs} runs, by nominal level")
        print(alarms(n, 5 * given.runs).round(4).to_string())


if __name__ == "__main__":
    main()
