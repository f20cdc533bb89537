"""Attacks on runs whose members are known: area, share of members found, and CPU seconds for each.

Members and others must come from one site and be split at random, or the figures show the shift. Validation patients,
or with shadow models those of test.
"""

from __future__ import annotations

import argparse
import resource
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml

from memcontrol import load_pipeline
from memcontrol.audit import ShadowOptions, ShadowTraining
from memcontrol.cli import build
from memcontrol.diffusion.bases import load_components
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.files.run_folder import CONFIG, find_run
from memcontrol.measures import MEASURES, Evidence, RealImages, Scene, ScoredModel, ScoringOptions, Shadow
from memcontrol.measures.aggregators import GroupAUC, Values
from memcontrol.measures.encoders import ThumbnailEncoder
from memcontrol.measures.functional.membership import hits_at_fpr
from memcontrol.measures.membership import LOW_NOISE
from memcontrol.measures.score import collect, encode_splits


def table_of(path: str, options: ScoringOptions, number: int, work: Path) -> pd.DataFrame:
    """Return a line for each attack on a run or checkpoint."""
    run = find_run(Path(path))
    assert run is not None
    config = yaml.safe_load((run / CONFIG).read_text())
    parts = {name: config[name] for name in ("seed_everything", "model", "data", "trainer")}
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / CONFIG).write_text(yaml.safe_dump(parts))
        cli = build(["--config", str(Path(folder) / CONFIG)])
    data, size = cli.datamodule, cli.datamodule.transform.size
    data.setup("fit")
    split = "test" if number else "validate"
    real = RealImages(data, split, ThumbnailEncoder(), options.seed)
    tuned = ScoredModel(load_pipeline(find_checkpoint(path)), size, SamplingOptions())
    base = ScoredModel(load_components(cli.model.base).pipeline(), size, SamplingOptions())
    encode_splits(base, data, ("train", split))
    shadows, cost = [], 0.0
    if number:
        training = ShadowTraining(ShadowOptions(number, threads=1), parts["data"], "memcontrol.cli:main")
        card = read_checkpoint(find_checkpoint(path))[0]
        before_children = resource.getrusage(resource.RUSAGE_CHILDREN)
        paths = training.train(run, card, work / f"{run.parent.name}-{card.step}")
        after_children = resource.getrusage(resource.RUSAGE_CHILDREN)
        cost = after_children.ru_utime - before_children.ru_utime
        for k, shadow in enumerate(paths):
            model = ScoredModel(load_pipeline(shadow), size, SamplingOptions())
            shadows.append(Shadow(collect(model, real, options, LOW_NOISE), data.coin_half(k)))
    lines = []
    for measure in MEASURES.values():
        if not isinstance(measure.aggregator, GroupAUC):
            continue
        before: Evidence | None = collect(base, real, options, measure.needs) if measure.needs_base else None
        started = time.process_time()
        evidence = collect(tuned, real, options, measure.needs)
        seconds = time.process_time() - started
        values = measure.values(evidence, Scene(real, options, before, shadows))
        if values is None or values.outside is None:
            continue
        if measure.attacker == "shadows":
            seconds += cost
        inside, outside = values.inside.numpy(), values.outside.numpy()
        found = {f"TPR at {100 * fpr:g} %": hits_at_fpr(inside, outside, fpr).mean() for fpr in (0.01, 0.05)}
        lines.append({"attack": measure.name, "AUC": measure.aggregator.value(values), **found, "CPU s": seconds})
    if shadows:
        print(control(shadows, real).to_string(index=False))
    print(f"{len(real.data.table('train'))} members, {len(real.data.table(split))} others; half of them, or as many "
          "others as members, where something is learnt")  # fmt: skip
    return pd.DataFrame(lines).set_index("attack")


def control(shadows: list[Shadow], real: RealImages) -> pd.DataFrame:
    """Return LiRA's area on each shadow model by the others, for its own members and for labels that tell nothing."""
    measure, lines = MEASURES["membership_lira"], []
    for k, shadow in enumerate(shadows):
        others = [other for j, other in enumerate(shadows) if j // 2 != k // 2]  # its complement gives it away
        if not others:
            continue
        values = measure.values(shadow.evidence, Scene(real, ScoringOptions(), None, others))
        assert values is not None
        assert values.outside is not None
        scores = np.concatenate([values.inside, values.outside])
        own = np.array([name in shadow.members for name in (*values.patients, *values.outside_patients)])
        split = np.repeat([True, False], [len(values.inside), len(values.outside)])
        areas = (measure.aggregator.value(_divided(scores, of)) for of in (own, split))
        lines.append(dict(zip(("own members", "labels that tell nothing"), areas, strict=True)))
    return pd.DataFrame(lines).round(3)


def _divided(scores: np.ndarray, inside: np.ndarray) -> Values:
    names = [str(i) for i in range(len(scores))]
    one, other = np.flatnonzero(inside), np.flatnonzero(~inside)
    return Values(torch.from_numpy(scores[one]), [names[i] for i in one],
                  torch.from_numpy(scores[other]), [names[i] for i in other])  # fmt: skip


def main() -> None:
    """Print a table for each run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", nargs="+", help="run folders or checkpoints")
    parser.add_argument("--draws", type=int, default=8)
    parser.add_argument("--shadows", type=int, default=0, help="shadow models of each run")
    parser.add_argument("--work", type=Path, default=Path("runs/shadows"), help="where they are kept")
    given = parser.parse_args()
    options = replace(ScoringOptions(num_probes=0), draws=given.draws)
    for path in given.runs:
        print(f"\n{path}")
        print(table_of(path, options, given.shadows, given.work).round(3).to_string())


if __name__ == "__main__":
    main()
