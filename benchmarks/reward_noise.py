"""How much of a reward is noise? Checkpoints of one data set, each scored twice with other noise and other pictures.

For each measure: the standard error of one scoring (that of the difference of both, over the square root of two), the
range between the checkpoints, their quotient, and the rank agreement of both scorings. All checkpoints share noise and
prompts within a scoring, as the trials of a search do.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
import yaml
from scipy.stats import spearmanr

from memcontrol import load_pipeline
from memcontrol.cli import build
from memcontrol.diffusion.bases import load_components
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.files.checkpoints import find_checkpoint
from memcontrol.files.run_folder import CONFIG, find_run
from memcontrol.measures import RealImages, Samples, ScoredModel, ScoringOptions, score
from memcontrol.measures.functional.kernel import kernel_distance

MEASURES = [
    "membership_auc",
    "membership_calibrated",
    "membership_captioned",
    "heldout_loss",
    "fid",
    "kid",
    "kid_whitened",
]


def scores_of(paths: list[str], images: int, seeds: tuple[int, ...], steps: int, keep: Path | None) -> pd.DataFrame:
    """Return one row per checkpoint, seed and measure."""
    run = find_run(Path(paths[0]))
    assert run is not None
    config = yaml.safe_load((run / CONFIG).read_text())
    with tempfile.TemporaryDirectory() as folder:
        parts = {name: config[name] for name in ("seed_everything", "model", "data", "trainer")}
        (Path(folder) / CONFIG).write_text(yaml.safe_dump(parts))
        cli = build(["--config", str(Path(folder) / CONFIG)])
    data, sampling = cli.datamodule, SamplingOptions(steps=steps, guidance_scale=2.0)
    data.setup("fit")
    rows = []
    for seed in seeds:
        options = ScoringOptions(num_images=images, seed=seed, measures=MEASURES, attacks=False, sampling=sampling)
        real = RealImages(data, "validate", options.features(), seed)
        untouched = ScoredModel(load_components(cli.model.base).pipeline(), data.transform.size, sampling)
        base = score(untouched, data, "validate", options, real=real)
        del untouched
        for path in paths:
            started = time.process_time()
            model = ScoredModel(load_pipeline(find_checkpoint(path)), data.transform.size, sampling)
            found = score(model, data, "validate", options, base.evidence, real=real)
            drawn, before = (e[Samples("heldout")].features for e in (found.evidence, base.evidence))
            values = {m.name: m.value.value for m in found.measurements if m.value is not None}
            values["kid, less the base's"] = kernel_distance(drawn, real.heldout) - kernel_distance(
                before, real.heldout
            )
            rows += [{"path": path, "seed": seed, "measure": name, "value": value} for name, value in values.items()]
            print(f"{path} seed {seed}: {time.process_time() - started:.0f} CPU s, {values}", flush=True)
            if keep is not None:
                keep.mkdir(parents=True, exist_ok=True)
                kept = {"drawn": drawn, "before": before, "real": real.heldout}
                torch.save(kept, keep / f"{path.strip('/').replace('/', '-')}-{seed}.pt")
    return pd.DataFrame(rows)


def table_of(scores: pd.DataFrame) -> pd.DataFrame:
    """Return noise, range and rank agreement of each measure."""
    lines = []
    for name, group in scores.groupby("measure", sort=False):
        wide = group.pivot(index="path", columns="seed", values="value")
        one, two = wide.iloc[:, 0].to_numpy(), wide.iloc[:, 1].to_numpy()
        error, means = np.std(one - two, ddof=1) / 2**0.5, (one + two) / 2
        span = float(means.max() - means.min())
        agreement = spearmanr(one, two).statistic
        lines.append({"measure": name, "error": error, "range": span, "error / range": error / span, "rho": agreement})
    return pd.DataFrame(lines).set_index("measure")


def main() -> None:
    """Print the table of the checkpoints that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="+", help="checkpoints of runs with the same data")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20, help="of the sampler")
    parser.add_argument("--keep", type=Path, help="folder for the pictures' features")
    arguments = parser.parse_args()
    scores = scores_of(arguments.paths, arguments.images, (0, 1), arguments.steps, arguments.keep)
    print(table_of(scores).round(3).to_string())


if __name__ == "__main__":
    main()
