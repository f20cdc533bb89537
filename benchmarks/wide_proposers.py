"""Compare proposers on a made landscape over the space of `search/wide.yaml`: choices, conditions, numbers and a mask.

    python benchmarks/wide_proposers.py [--seeds 20] [--evaluations 60] [--study docs/evidence/cxr-wide-search]

No proposer's model holds the objectives: a learning rate has its best place under each method, bits act on each other
in threes, and what lowers memorization mostly lowers quality.
With `--study` the landscape is one that was measured: forests, grown from other draws for each seed, of what the
trials of a study of that space have shown at their end, in units of their spread.
Shares are of the best hypervolume that was seen by anybody, 20,000 random trials among them.
"""

from __future__ import annotations

import argparse
import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import optuna
import yaml
from sklearn.ensemble import ExtraTreesRegressor

from memcontrol.files.configs import find_config
from memcontrol.files.journal import Journal
from memcontrol.search.bayes import features
from memcontrol.search.front import hypervolume_of
from memcontrol.search.proposer import Proposer
from memcontrol.search.records import TrialState, read_trials
from memcontrol.search.space import Parameter, Proposal, SearchSpace

NEVERGRAD = ("PairwiseThompson", "DE", "NGOpt", "TwoPointsDE", "DiscreteOnePlusOne")


def wide_space(slots: int = 12) -> SearchSpace:
    """Return the space of the config, over so many slots."""
    with open(find_config("search/wide.yaml")) as file:
        parameters = yaml.safe_load(file)["search"]["parameters"]
    return SearchSpace(
        tuple(f"s{i}" for i in range(slots)), tuple(Parameter(**p) for p in parameters), may_be_empty=False
    )


@dataclass(frozen=True)
class Landscape:
    """Two rewards of a trial.

    Args:
        space: The space.
        seed: Seed of the landscape.
    """

    space: SearchSpace
    seed: int = 0

    def rewards(self, proposal: Proposal) -> np.ndarray:
        """Return both rewards, about in [-3, 3], without noise."""
        return self.all_rewards([proposal])[0]

    def all_rewards(self, proposals: Sequence[Proposal]) -> np.ndarray:
        """Return those of many at once, with shape `(n, 2)`."""
        return self._all(np.array([p.mask for p in proposals], dtype=float), np.array([p.units for p in proposals]))

    def _all(self, bits: np.ndarray, units: np.ndarray) -> np.ndarray:
        rng = np.random.default_rng(self.seed)
        matters = self.space.matters(units)
        found = []
        strength = np.abs(rng.normal(size=bits.shape[1]))
        triples = rng.choice(bits.shape[1], (bits.shape[1], 3))
        settings = rng.normal(size=(len(self.space.parameters), 8))
        places = rng.random(len(self.space.parameters))
        for sign in (1, -1):
            value = sign * (2 * bits - 1) @ strength / np.sqrt(bits.shape[1])
            twists = rng.normal(size=len(triples))
            value = value + np.prod(2 * bits[:, triples] - 1, axis=2) @ twists / np.sqrt(len(triples))
            for k, parameter in enumerate(self.space.parameters):
                own = rng.normal(size=8)
                if parameter.kind == "choice":
                    levels = np.minimum(len(parameter.choices) - 1, (units[:, k] * len(parameter.choices)).astype(int))
                    effect = (sign * settings[k] + own)[levels]
                else:
                    best = np.clip(places[k] + 0.25 * sign, 0, 1)
                    effect = 1.5 * np.exp(-8 * (units[:, k] - best) ** 2) + 0.3 * np.sin(7 * units[:, k] + own[0])
                value = value + 0.6 * effect * matters[:, k]
            found.append(value)
        return np.stack(found, axis=1)


@dataclass(frozen=True)
class Measured(Landscape):
    """Two rewards as forests tell them from the trials of a study.

    Args:
        space: The space of the study.
        seed: Seed of the trials that are drawn, with replacement, to grow the forests from.
        bits: Masks of the trials, with shape `(n, B)`.
        units: Their numbers in [0, 1], with shape `(n, K)`.
        measured: Rewards at their end, in units of their spread, with shape `(n, 2)`.
    """

    bits: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    units: np.ndarray = field(default_factory=lambda: np.zeros((0, 0)))
    measured: np.ndarray = field(default_factory=lambda: np.zeros((0, 2)))

    @classmethod
    def of(cls, study: Path, seeds: int) -> list[Measured]:
        """Read a study, and return a landscape for each seed."""
        records = [r for r in read_trials(Journal(study / "journal.jsonl")) if r.state is TrialState.COMPLETE]
        rewards = np.array([r.points[-1].rewards for r in records])
        scaled = (rewards - rewards.mean(axis=0)) / rewards.std(axis=0)
        bits, units = np.array([r.mask for r in records], dtype=float), np.array([r.units for r in records])
        return [cls(wide_space(bits.shape[1]), seed, bits, units, scaled) for seed in range(seeds)]

    def _all(self, bits: np.ndarray, units: np.ndarray) -> np.ndarray:
        return np.stack([tree.predict(self._terms(bits, units)) for tree in self._forests], axis=1)

    @cached_property
    def _forests(self) -> list[ExtraTreesRegressor]:
        rows = np.random.default_rng(self.seed).integers(len(self.bits), size=len(self.bits))
        x = self._terms(self.bits[rows], self.units[rows])
        return [ExtraTreesRegressor(100, random_state=self.seed).fit(x, y) for y in self.measured[rows].T]

    def _terms(self, bits: np.ndarray, units: np.ndarray) -> np.ndarray:
        return features(self.space, bits, units)[0][:, : 1 + bits.shape[1] + self._width]

    @cached_property
    def _width(self) -> int:
        return sum(len(p.choices) if p.kind == "choice" else 1 for p in self.space.parameters)


def volume(rewards: list[np.ndarray]) -> float:
    """Return the noise-free hypervolume of what was tried."""
    return hypervolume_of(np.stack(rewards), np.array([-3.0, -3.0]))


def by_nevergrad(name: str) -> Callable[[Landscape, int, int, float], list[np.ndarray]]:
    """Run an optimizer of nevergrad's registry through our proposer."""

    def run(landscape: Landscape, budget: int, seed: int, noise: float) -> list[np.ndarray]:
        proposer = Proposer(landscape.space, name, [], budget, 1, 2, seed)
        rng, found = np.random.default_rng(seed), []
        for _ in range(budget):
            proposal = proposer.ask()
            assert proposal is not None
            found.append(landscape.rewards(proposal))
            proposer.tell(proposal, found[-1] + noise * rng.normal(size=2))
        return found

    return run


def random(landscape: Landscape, budget: int, seed: int, noise: float) -> list[np.ndarray]:
    """Try random trials."""
    rng, space = np.random.default_rng(seed), landscape.space
    masks = rng.integers(0, 2, (budget, len(space.slots)))
    units = rng.random((budget, len(space.parameters)))
    return list(landscape.all_rewards([space.proposal(mask, unit) for mask, unit in zip(masks, units, strict=True)]))


def by_optuna(sampler: Callable[[int], optuna.samplers.BaseSampler]) -> Callable[..., list[np.ndarray]]:
    """Run a sampler of Optuna, with conditions as it has them: what does not matter is not asked for."""

    def run(landscape: Landscape, budget: int, seed: int, noise: float) -> list[np.ndarray]:
        space, rng, found = landscape.space, np.random.default_rng(seed), []

        def objective(trial: optuna.Trial) -> tuple[float, float]:
            mask = [trial.suggest_categorical(f"b{i}", [0, 1]) for i in range(len(space.slots))]
            units = np.array(space.middle)
            for k, parameter in enumerate(space.parameters):
                if not space.matters(units[None])[0, k]:
                    continue
                if parameter.kind == "choice":
                    units[k] = parameter.unit(trial.suggest_categorical(f"p{k}", list(range(len(parameter.choices)))))
                else:
                    units[k] = trial.suggest_float(f"p{k}", 0, 1)
            found.append(landscape.rewards(space.proposal(mask, units)))
            first, second = found[-1] + noise * rng.normal(size=2)
            return float(first), float(second)

        study = optuna.create_study(directions=["maximize"] * 2, sampler=sampler(seed))
        study.optimize(objective, n_trials=budget)
        return found

    return run


METHODS: dict[str, Callable[[Landscape, int, int, float], list[np.ndarray]]] = {
    **{f"nevergrad {name}": by_nevergrad(name) for name in NEVERGRAD},
    "random": random,
    "Optuna NSGA-II, 20": by_optuna(lambda s: optuna.samplers.NSGAIISampler(population_size=20, seed=s)),
    "Optuna TPE, multivariate": by_optuna(lambda s: optuna.samplers.TPESampler(multivariate=True, group=True, seed=s)),
}


def main() -> None:
    """Print mean shares with their standard errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=60)
    parser.add_argument("--noise", type=float, default=0.2, help="standard deviation of a reward")
    parser.add_argument("--study", type=Path, help="folder of a study, whose trials make the landscape")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    made = [Landscape(wide_space(), seed) for seed in range(options.seeds)]
    landscapes = Measured.of(options.study, options.seeds) if options.study else made
    found: dict[str, list[list[np.ndarray]]] = {}
    for method in options.methods:
        started = time.process_time()
        found[method] = [METHODS[method](of, options.evaluations, of.seed, options.noise) for of in landscapes]
        spent = (time.process_time() - started) / options.seeds
        print(f"{method}: {spent:.1f} s CPU per run", flush=True)
    every = [random(of, 20_000, 10**6, 0.0) + [r for runs in found.values() for r in runs[i]]
             for i, of in enumerate(landscapes)]  # fmt: skip
    best = [volume(rewards) for rewards in every]
    print(f"\n{options.evaluations} evaluations, {options.seeds} landscapes, noise {options.noise}")
    for method, runs in found.items():
        shares = [volume(rewards) / of for rewards, of in zip(runs, best, strict=True)]
        error = np.std(shares, ddof=1) / options.seeds**0.5
        print(f"  {method:28s} {np.mean(shares):.4f} +- {error:.4f}")


if __name__ == "__main__":
    main()
