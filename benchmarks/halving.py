"""Successive halving on tabulated landscapes with values per epoch: hypervolume kept, and steps spared.

    python benchmarks/halving.py [--seeds 20] [--evaluations 100] [--epochs 4]

An epoch's value is the final one, behind by a gap that closes and differs from mask to mask; each is seen with noise
and an interval. A trial is stopped by the rule of `PruningCallback`.
"""

from __future__ import annotations

import argparse
import warnings

import numpy as np
from proposers import Landscape, rough, smooth, volume

from memcontrol.measures import Measurement, Point
from memcontrol.measures.statistics.intervals import Interval
from memcontrol.search.points import best_point, expected_point
from memcontrol.search.proposer import Proposer
from memcontrol.search.pruning import is_hopeless
from memcontrol.search.space import SearchSpace

MIN_TRIALS = 10


def curve(landscape: Landscape, mask: tuple[int, ...], epochs: int) -> np.ndarray:
    """Return the rewards of each epoch, with shape `(epochs, 2)`."""
    rng = np.random.default_rng(int("".join(map(str, mask)), 2))
    rate = rng.uniform(0.7, 1.3)
    behind = 0.3 * np.exp(-rate * np.arange(epochs) * 3 / max(1, epochs - 1)) - 0.3 * np.exp(-rate * 3)
    return landscape[mask] - behind[:, None]


def run(landscape: Landscape, budget: int, epochs: int, noise: float, seed: int, prune: bool) -> tuple[float, float]:
    """Return hypervolume and share of the steps."""
    bits = len(next(iter(landscape)))
    space = SearchSpace(tuple(f"s{i}" for i in range(bits)), ())
    proposer = Proposer(space, "PairwiseThompson", [], budget, 1, 2, seed)
    rng, steps = np.random.default_rng(seed), 0
    finished: list[tuple[Point, ...]] = []
    whole: list[tuple[Point, ...]] = []
    reached = []
    for number in range(budget):
        proposal = proposer.ask()
        if proposal is None:
            break
        points: list[Point] = []
        for epoch, value in enumerate(curve(landscape, proposal.mask, epochs)):
            steps += 1
            seen = value + noise * rng.normal(size=2)
            points.append(Point(epoch, tuple(seen)))
            rung = [p for trial in finished for p in trial if p.step == epoch]
            mine = [
                Measurement(str(k), "quality", Interval(v, v - 1.96 * noise, v + 1.96 * noise, 1), None, True)
                for k, v in enumerate(seen)
            ]
            if prune and len(finished) >= MIN_TRIALS and is_hopeless(mine, rung):
                reported = expected_point(points[-1], whole)
                break
        else:
            reached.append(proposal.mask)
            whole.append(tuple(points))
            reported = best_point(points, [p for trial in finished for p in trial], number, seed)
        finished.append(tuple(points))
        proposer.tell(proposal, reported.rewards)
    return volume(landscape, reached), steps / (budget * epochs)


def main() -> None:
    """Print hypervolume with halving as a share of that without, and the share of the steps."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--noise", type=float, default=0.03)
    options = parser.parse_args()
    warnings.filterwarnings("ignore")
    for name, landscape in (("smooth", smooth()), ("rough", rough())):
        common = (landscape, options.evaluations, options.epochs, options.noise)
        pairs = [(run(*common, seed, True), run(*common, seed, False)[0]) for seed in range(options.seeds)]
        kept = np.array([pruned[0] / whole for pruned, whole in pairs])
        spent = np.array([pruned[1] for pruned, _ in pairs])
        error = kept.std() / max(1, len(kept) - 1) ** 0.5
        print(f"{name}: hypervolume {kept.mean():.4f} +- {error:.4f} of that without halving, steps {spent.mean():.3f}")


if __name__ == "__main__":
    main()
