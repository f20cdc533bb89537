"""How often is a leak found where there is none? Verdicts on random splits of patients whom a model has never seen.

Each of the models of `situations.py` is scored once on its situation `unseen`; then its patients are divided at random
into pretended training patients and held-out ones, again and again, and all measures and the verdict are computed anew.
The extraction attack is left out, which draws anew for each division. Run `situations.py` first. What was
scored stays: remove `pools/` of the work folder after a measure has changed.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from benchmarks.situations import MODELS, Situation, Tables, data_options
from memcontrol import load_pipeline
from memcontrol.audit.sample_cache import CachedModel
from memcontrol.audit.verdict import Patients, judge
from memcontrol.cli import build
from memcontrol.diffusion.bases import load_components
from memcontrol.files.checkpoints import find_checkpoint
from memcontrol.measures import Evidence, RealImages, Sampled, Samples, ScoringOptions, measure, score
from memcontrol.measures.copies import CopyFinder, Match
from memcontrol.measures.copies import finder as internals
from memcontrol.measures.probes import Probed
from memcontrol.seeds import derive_seed


def agreements(queries: Tensor, bank: Tensor, at_once: int = 4) -> Tensor:
    """Return how much each picture agrees with each image, with shape `(n, m)`."""
    finder, parts = CopyFinder(bank), []
    allowed = torch.ones(at_once, len(bank), dtype=torch.bool)
    with torch.inference_mode():
        for part in queries.split(at_once):
            rows, poses = finder._shortlist(part, allowed[: len(part)], len(bank))
            found = internals._registered(finder._pairs(part, rows, poses)).view(rows.shape).cpu()
            parts.append(torch.empty_like(found).scatter(1, rows.cpu(), found))
    return torch.cat(parts)


class Pool:
    """All that was measured of a model on patients that it has never seen, whichever side they were on."""

    def __init__(self, real: RealImages, tuned: Evidence, base: Evidence) -> None:
        self.table = pd.concat([real.data.table("train"), real.data.table("test")], ignore_index=True)
        self.first = len(real.data.table("train"))
        self.features = torch.cat([real.training, real.heldout])
        bank = torch.cat([real.copies.bank, real.heldout_finder.bank])
        self.images = agreements(bank, bank)
        self.evidence = {"tuned": self._joined(tuned, bank), "base": self._joined(base, bank)}

    def _joined(self, evidence: Evidence, bank: Tensor) -> dict[Any, Any]:
        """Put both sides together: rows become those of the whole table."""
        found: dict[Any, Any] = {}
        for need, value in evidence.found.items():
            if need.side == "heldout":
                continue
            other = evidence.get(replace(need, side="heldout"))
            if other is None:
                continue
            rows, names = [*value.rows, *(row + self.first for row in other.rows)], [*value.subjects, *other.subjects]
            if isinstance(need, Samples):
                features = torch.cat([value.copy_features, other.copy_features])
                numbers = torch.arange(len(rows))[:, None]
                pictures = torch.cat([value.features, other.features])
                found[need] = (Sampled(rows, names, pictures, pictures, numbers), agreements(features, bank))
            else:
                found[need] = Probed(rows, names, torch.cat([value.scores, other.scores]))
        return found


class Divided(RealImages):
    """A pool of patients, some of whom are pretended to be training patients."""

    def __init__(self, pool: Pool, inside: np.ndarray, seed: int) -> None:
        self.pool, self.seed, self.heldout_split = pool, seed, "test"
        self.rows = {"train": np.flatnonzero(inside), "test": np.flatnonzero(~inside)}
        tables = {split: pool.table.iloc[rows].reset_index(drop=True) for split, rows in self.rows.items()}
        none = np.zeros(0, dtype=int)
        self.data = SimpleNamespace(table=tables.__getitem__, memorized_rows=lambda: none, split_at_random=True)  # type: ignore[assignment]
        self.training, self.heldout = (pool.features[torch.from_numpy(rows)] for rows in self.rows.values())
        self.of_pictures: dict[int, Tensor] = {}

    @cached_property
    def heldout_copies(self) -> Match:
        """The pretended training image that each held-out image is most like."""
        return self._match(self.pool.images[torch.from_numpy(self.rows["test"])])

    def match(self, copy_features: Tensor) -> Match:
        """Look it up by the numbers of pictures."""
        return self._match(self.of_pictures[id(copy_features)])

    def match_own(self, copy_features: Tensor, subjects: Any) -> Match:
        """Look it up among the images of one patient."""
        own = np.asarray(subjects)[:, None] == np.asarray(self.subjects("test"))[None]
        among = self.of_pictures[id(copy_features)][:, torch.from_numpy(self.rows["test"])]
        return Match(*among.masked_fill(~torch.from_numpy(own), -2.0).max(dim=1))

    def _match(self, found: Tensor) -> Match:
        return Match(*found[:, torch.from_numpy(self.rows["train"])].max(dim=1))

    def evidence(self, name: str) -> Evidence:
        """Return evidence of this division."""
        found: dict[Any, Any] = {}
        for need, joined in self.pool.evidence[name].items():
            for side, split in (("train", "train"), ("heldout", "test")):
                value = joined[0] if isinstance(need, Samples) else joined
                place = {int(row): i for i, row in enumerate(self.rows[split])}
                kept = [i for i, row in enumerate(value.rows) if row in place]
                rows, names = [place[value.rows[i]] for i in kept], [value.subjects[i] for i in kept]
                key = replace(need, side=side)
                if not isinstance(need, Samples):
                    found[key] = Probed(rows, names, value.scores[kept])
                    continue
                found[key] = Sampled(rows, names, value.images[kept], value.features[kept], value.copy_features[kept])
                self.of_pictures[id(found[key].copy_features)] = joined[1][kept]
        return Evidence(found)


def pool_of(situation: Situation, tables: Tables, base: Path, options: ScoringOptions) -> Pool:
    """Score a model on patients that it has never seen."""
    run = tables.work / "runs" / situation.model.name
    cli = build(["--config", "cxr.yaml", f"--model.base={base}", *data_options(situation, tables)])
    data, folder = cli.datamodule, tables.work / "audits" / situation.name / "draws"
    data.setup("test")
    options = replace(options, sampling=options.sampling_of(cli.model.sampling))
    real = RealImages(data, "test", options.features(), options.seed)
    parts = data.transform.size, options.sampling
    untouched = CachedModel(load_components(cli.model.base).pipeline(), *parts, folder=folder, label="base")
    both = Samples("train"), Samples("heldout")
    before = score(untouched, data, "test", options, real=real, also=both).evidence
    tuned = CachedModel(load_pipeline(find_checkpoint(str(run))), *parts, folder=folder, label=situation.name)
    after = score(tuned, data, "test", options, before, real=real, also=both).evidence
    return Pool(real, after, before)


def verdicts(pool: Pool, options: ScoringOptions, number: int, level: float) -> Iterator[tuple[str, list[str]]]:
    """Yield the outcome of each division, and the measures that found a leak at the level by themselves."""
    subjects = pool.table["subject_id"].astype(str).to_numpy()
    names = np.unique(subjects)
    for seed in range(number):
        chosen = np.random.default_rng(derive_seed(seed, "division")).permutation(names)[: len(names) // 2]
        real = Divided(pool, np.isin(subjects, chosen), seed)
        tuned, base = real.evidence("tuned"), real.evidence("base")
        measurements = measure(tuned, real, replace(options, seed=seed), base)
        patients = Patients(len(chosen), len(names) - len(chosen), len(set(tuned[Samples("train")].subjects)),
                            len(set(real.calibration_subjects())))  # fmt: skip
        found = judge(measurements, None, [], patients, None, options.alpha, level)
        yield found.outcome, [m.name for m in measurements if m.p is not None and m.p < level]


def main() -> None:
    """Print how often each test and the verdict find a leak."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adults", type=Path, required=True)
    parser.add_argument("--children", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/situations"))
    parser.add_argument("--divisions", type=int, default=100, help="of each model's patients")
    parser.add_argument("--level", type=float, default=0.01)
    parser.add_argument("--part", default="1/1")
    arguments = parser.parse_args()
    part, parts = map(int, arguments.part.split("/"))
    roots = {"adults": arguments.adults.resolve(), "children": arguments.children.resolve()}
    tables, options = Tables(roots, arguments.work.resolve()), ScoringOptions(num_images=60, num_probes=0)
    outcomes: Counter[str] = Counter()
    alarms: Counter[str] = Counter()
    for model in [m for m in MODELS if m.source != "phantoms"][part - 1 :: parts]:
        file = tables.work / "pools" / f"{model.name}.pt"
        if not file.is_file():
            file.parent.mkdir(exist_ok=True)
            torch.save(pool_of(Situation(model, "unseen"), tables, arguments.base.resolve(), options), file)
        pool: Pool = torch.load(file, weights_only=False)  # written here, and by nobody else
        for outcome, names in verdicts(pool, options, arguments.divisions, arguments.level):
            outcomes[outcome] += 1
            alarms.update(names)
        print(f"{model.name}: {dict(outcomes)} so far, {dict(alarms)}", flush=True)
    total = sum(outcomes.values())
    print(f"{total} audits: {100 * outcomes['leak'] / total:.2f} % say leak at a nominal {100 * arguments.level:g} %")
    for name, count in alarms.most_common():
        print(f"  {name}: {100 * count / total:.2f} % at {100 * arguments.level:g} % by itself")


if __name__ == "__main__":
    main()
