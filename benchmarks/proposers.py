"""Compare proposers on tabulated landscapes, by the share of the best noise-free hypervolume that they reach.

    python benchmarks/proposers.py [--seeds 20] [--evaluations 100] [--table real.csv]

Two landscapes over 13 bits are made: a smooth one (single and pairwise terms) and a rough one (each bit acts with four
random others). `--table` adds a measured one: a csv with the columns mask, and one reward per further column; `--study`
takes one from a study that has tried every mask, and nothing else.
"""

from __future__ import annotations

import argparse
import json
import time
import warnings
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
import optuna
import pandas as pd
import yaml

from memcontrol.files.journal import Journal
from memcontrol.measures.statistics.objective import reward_of
from memcontrol.search.front import hypervolume_of
from memcontrol.search.proposer import Proposer
from memcontrol.search.records import read_trials
from memcontrol.search.space import SearchSpace

Landscape = dict[tuple[int, ...], np.ndarray]
NEVERGRAD = ("DE", "NGOpt", "DiscreteOnePlusOne", "TwoPointsDE")


def all_masks(bits: int) -> np.ndarray:
    """Return all masks, with shape `(2 ** bits, bits)`."""
    return (np.arange(2**bits)[:, None] >> np.arange(bits)) & 1


def smooth(bits: int = 13, seed: int = 0) -> Landscape:
    """Make two opposed objectives of single and pairwise terms."""
    rng = np.random.default_rng(seed)
    masks = all_masks(bits)
    b = 2.0 * masks - 1
    i, j = np.triu_indices(bits, 1)
    shared = np.abs(rng.normal(size=bits))
    columns = []
    for sign in (1, -1):
        single = sign * shared + 0.4 * rng.normal(size=bits)
        columns.append(b @ single + (b[:, i] * b[:, j]) @ (0.35 * rng.normal(size=len(i))))
    return _table(masks, np.stack(columns, axis=1))


def rough(bits: int = 13, neighbours: int = 4, seed: int = 0) -> Landscape:
    """Make two NK landscapes with a common opposed part."""
    rng = np.random.default_rng(seed)
    masks = all_masks(bits)
    columns = []
    for sign in (1, -1):
        value = sign * 0.25 * masks.sum(axis=1).astype(float)
        for bit in range(bits):
            others = rng.choice(np.delete(np.arange(bits), bit), neighbours, replace=False)
            code = masks[:, [bit, *others]] @ (1 << np.arange(neighbours + 1))
            value = value + rng.random(2 ** (neighbours + 1))[code]
        columns.append(value)
    return _table(masks, np.stack(columns, axis=1))


def _table(masks: np.ndarray, rewards: np.ndarray) -> Landscape:
    scaled = (rewards - rewards.min(axis=0)) / np.ptp(rewards, axis=0)
    return {tuple(mask.tolist()): row for mask, row in zip(masks, scaled, strict=True)}


def read(path: Path) -> Landscape:
    """Read a measured landscape."""
    table = pd.read_csv(path, dtype={"mask": str})
    masks = np.array([[int(c) for c in mask] for mask in table["mask"]])
    return _table(masks, table.drop(columns="mask").to_numpy())


def read_study(folder: Path) -> Landscape:
    """Read a study that has tried every mask: the last validation of each trial, or step 0 for all bits off."""
    records = [record for record in read_trials(Journal(folder / "journal.jsonl")) if record.points]
    masks, rewards = [r.mask for r in records], [r.points[-1].rewards for r in records]
    objectives = yaml.safe_load((folder / "study.yaml").read_text())["search"]["objectives"]
    first = next(folder.glob("trials/*/rewards.jsonl")).read_text().splitlines()[0]
    measures = {m["name"]: m for m in json.loads(first)["measures"]}
    nothing = tuple(0 for _ in masks[0])
    if nothing not in masks:
        masks.append(nothing)
        found = [measures[name] for name in objectives]
        rewards.append(tuple(reward_of(m["value"]["value"], m["higher_is_better"]) for m in found))
    return _table(np.array(masks), np.array(rewards))


def volume(landscape: Landscape, tried: Iterable[tuple[int, ...]]) -> float:
    """Return the noise-free hypervolume of what was tried."""
    return hypervolume_of(np.stack([landscape[mask] for mask in tried]), np.array([-0.01, -0.01]))


def ours(name: str) -> Callable[[Landscape, int, int, float], list[tuple[int, ...]]]:
    """Run an optimizer of nevergrad's registry through our proposer."""

    def run(landscape: Landscape, budget: int, seed: int, noise: float) -> list[tuple[int, ...]]:
        bits = len(next(iter(landscape)))
        space = SearchSpace(tuple(f"s{i}" for i in range(bits)), ())
        anchors = [space.proposal([1] * bits, []), space.proposal([0] * bits, [])]
        proposer = Proposer(space, name, anchors, budget, 1, 2, seed)
        rng, tried = np.random.default_rng(seed), []
        for _ in range(budget):
            proposal = proposer.ask()
            if proposal is None:
                break
            tried.append(proposal.mask)
            proposer.tell(proposal, landscape[proposal.mask] + noise * rng.normal(size=2))
        return tried

    return run


def random(landscape: Landscape, budget: int, seed: int, noise: float) -> list[tuple[int, ...]]:
    """Try random masks without repeats."""
    masks = list(landscape)
    return [masks[i] for i in np.random.default_rng(seed).permutation(len(masks))[:budget]]


def tuned_by(sampler: Callable[[int], optuna.samplers.BaseSampler]) -> Callable[..., list[tuple[int, ...]]]:
    """Run a sampler of Optuna."""

    def run(landscape: Landscape, budget: int, seed: int, noise: float) -> list[tuple[int, ...]]:
        bits = len(next(iter(landscape)))
        rng, tried = np.random.default_rng(seed), []

        def objective(trial: optuna.Trial) -> tuple[float, float]:
            mask = tuple(trial.suggest_categorical(f"b{i}", [0, 1]) for i in range(bits))
            tried.append(mask)
            first, second = landscape[mask] + noise * rng.normal(size=2)
            return float(first), float(second)

        study = optuna.create_study(directions=["maximize"] * 2, sampler=sampler(seed))
        study.optimize(objective, n_trials=budget)
        return tried

    return run


METHODS: dict[str, Callable[..., list[tuple[int, ...]]]] = {
    "PairwiseThompson (ours)": ours("PairwiseThompson"),
    "random, no repeats": random,
    **{f"nevergrad {name}": ours(name) for name in NEVERGRAD},
    "Optuna NSGA-II, 50": tuned_by(lambda s: optuna.samplers.NSGAIISampler(population_size=50, seed=s)),
    "Optuna NSGA-II, 20": tuned_by(lambda s: optuna.samplers.NSGAIISampler(population_size=20, seed=s)),
    "Optuna TPE, multivariate": tuned_by(lambda s: optuna.samplers.TPESampler(multivariate=True, seed=s)),
}


def main() -> None:
    """Print mean shares with their standard errors."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--evaluations", type=int, default=100)
    parser.add_argument("--noise", type=float, default=0.03, help="standard deviation, as a share of the range")
    parser.add_argument("--table", type=Path, default=None)
    parser.add_argument("--study", type=Path, default=None, help="folder of a study over all masks")
    parser.add_argument("--methods", nargs="*", default=list(METHODS))
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.filterwarnings("ignore")
    landscapes = {"smooth": (smooth(), options.evaluations), "rough": (rough(), options.evaluations)}
    if options.table is not None:
        found = read(options.table)
        landscapes["measured"] = (found, max(8, len(found) // 4))
    if options.study is not None:
        found = read_study(options.study)
        landscapes = {"measured": (found, max(8, len(found) // 4))}
    for name, (landscape, budget) in landscapes.items():
        print(f"\n{name}: {len(landscape)} masks, {budget} evaluations, {options.seeds} seeds")
        best = volume(landscape, landscape)
        for method in options.methods:
            started = time.process_time()
            runs = [METHODS[method](landscape, budget, s, options.noise) for s in range(options.seeds)]
            shares = [volume(landscape, tried) / best for tried in runs]
            error = np.std(shares) / max(1, options.seeds - 1) ** 0.5
            spent = (time.process_time() - started) / options.seeds
            print(f"  {method:28s} {np.mean(shares):.4f} +- {error:.4f}   ({spent:.1f} s CPU per run)", flush=True)
        runs = [random(landscape, 3 * budget, s, options.noise) for s in range(options.seeds)]
        triple = [volume(landscape, tried) / best for tried in runs]
        print(f"  {'random, three times as many':28s} {np.mean(triple):.4f}")


if __name__ == "__main__":
    main()
