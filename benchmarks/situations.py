"""Audits in situations whose truth is known: what does the verdict say, and is it right?

Models are fine-tuned on patients that are chosen here; each is audited on its own patients against others of the same
site, on patients that it never saw, and on its own against patients of another site. Wrong is a leak where there is
none, "none found" where a membership AUC was planted above the one that the verdict says it would have found, and "too
little to say" where a site is no other and patients are enough.

Begin with `python benchmarks/situations.py --adults FOLDER --children FOLDER --base FOLDER` (image folders whose table
has a column `seen`: whether the base was trained on an image). Models and audits that are there are not made again.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

HELD = 100
FULL = ("--config", "adapter/full.yaml", "--model.optimizer.lr=1e-4")
LORA = (
    "--model.adapter={class_path: peft.LoraConfig, init_args: {r: 4}}",
    "--model.slots=all",
    "--model.optimizer.lr=1e-3",
)
SVDIFF = ("--model.optimizer.lr=5e-3",)
FAINT = ("--model.optimizer.lr=1e-6",)


@dataclass(frozen=True)
class Model:
    """A fine-tuning of some patients.

    Args:
        name: Name.
        source: `adults`, `children` or `phantoms`.
        patients: Patients that are trained on.
        steps: Steps of training.
        options: What is trained, and how fast.
        repeated: Images that are repeated, and how often.
        leaks: Whether it knows its patients: `yes`, `no`, or `perhaps` where that lies near what an audit can see.
    """

    name: str
    source: str
    patients: int
    steps: int
    options: tuple[str, ...]
    leaks: str
    repeated: tuple[int, int] = (0, 1)


@dataclass(frozen=True)
class Situation:
    """A model, the patients that are taken for its training set and those held out, and what is true.

    Args:
        model: The model.
        kind: `own`, `unseen` or `other site`.
    """

    model: Model
    kind: str
    right: tuple[str, ...] = field(default=())

    @property
    def name(self) -> str:
        """Name of its folder."""
        return f"{self.model.name}-{self.kind.replace(' ', '-')}"


MODELS = (
    Model("a32", "adults", 32, 200, FULL, "yes"),
    Model("a64", "adults", 64, 200, FULL, "yes"),
    Model("a64-lora", "adults", 64, 200, LORA, "yes"),
    Model("a64-svdiff", "adults", 64, 200, SVDIFF, "perhaps"),
    Model("a64-faint", "adults", 64, 20, FAINT, "no"),
    Model("a250", "adults", 250, 400, FULL, "yes"),
    Model("a200-repeated", "adults", 200, 200, SVDIFF, "perhaps", (16, 32)),
    Model("a200-one", "adults", 200, 200, FULL, "yes", (1, 64)),
    Model("k64", "children", 64, 200, FULL, "yes"),
    Model("k64-faint", "children", 64, 20, FAINT, "no"),
    Model("k250", "children", 250, 400, FULL, "yes"),
    Model("p32", "phantoms", 32, 300, FULL, "yes"),
    Model("p64-faint", "phantoms", 64, 20, FAINT, "no"),
)


def situations() -> Iterator[Situation]:
    """Yield all of them."""
    own = {"yes": ("leak",), "no": ("none found",), "perhaps": ("leak", "none found")}
    for model in MODELS:
        yield Situation(model, "own", own[model.leaks])
        yield Situation(model, "unseen", ("none found",))
        if model.name in ("a64", "a64-faint", "k64", "a250"):
            yield Situation(model, "other site", ("too little",))


class Tables:
    """Writes tables of images that say which patient is in which split."""

    def __init__(self, roots: dict[str, Path], work: Path) -> None:
        self.work = work
        self.tables = {name: pd.read_csv(root / "metadata.csv", dtype=str) for name, root in roots.items()}
        for name, root in roots.items():
            self.tables[name]["file_name"] = [str(root / path) for path in self.tables[name]["file_name"]]

    def write(self, situation: Situation) -> Path:
        """Return the folder of a situation's table, from which images of other folders are read."""
        model, folder = situation.model, self.work / "tables" / situation.name
        table = self.tables[model.source]
        fresh = table[table["seen"] == "0"]
        names = np.random.default_rng(0).permutation(np.unique(fresh["subject_id"]))
        own, others = names[: model.patients], names[-HELD:]
        if situation.kind == "unseen":
            own, others = names[-HELD:][: HELD // 2], names[-HELD:][HELD // 2 :]
        rows = [fresh[fresh["subject_id"].isin(own)].assign(split="train")]
        if situation.kind == "other site":
            other = self.tables["children" if model.source == "adults" else "adults"]
            others = np.unique(other["subject_id"])[:HELD]
            fresh = other
        held = fresh[fresh["subject_id"].isin(others)]
        rows.append(held.assign(split=np.where(held["subject_id"].isin(others[:8]), "validate", "test")))
        folder.mkdir(parents=True, exist_ok=True)
        pd.concat(rows)[["file_name", "text", "subject_id", "split"]].to_csv(folder / "metadata.csv", index=False)
        return folder


def data_options(situation: Situation, tables: Tables) -> list[str]:
    """Return options of the data of a situation."""
    model = situation.model
    count, times = model.repeated if situation.kind == "own" else (0, 1)
    repeated = [f"--data.memorization.num_images={count}", f"--data.memorization.repeats={times}"]
    cache = [f"--data.cache.folder={tables.work / 'cache'}"]
    if model.source == "phantoms":
        unseen = situation.kind == "unseen"
        drawn = [f"--data.drawing_seed={2 if unseen else 1}", "--data.images_per_subject=1"]
        drawn += [f"--data.max_train_images={model.patients}", "--data.split_fractions=[0.3,0.1,0.6]"]
        return [*repeated, *cache, *drawn]
    folder = tables.write(situation)
    return [*repeated, *cache, f"--data.root={folder}", "--data.outside=true"]


def train(model: Model, tables: Tables, base: Path) -> Path:
    """Fine-tune a model, if that was not done."""
    run = tables.work / "runs" / model.name
    if (run / "done").is_file():
        return run
    config, named = ("demo.yaml", []) if model.source == "phantoms" else ("cxr.yaml", [f"--model.base={base}"])
    callback = f"{{class_path: callbacks.AdapterCheckpoint, init_args: {{every_n_train_steps: {model.steps}}}}}"
    _run(
        ["fit", "--config", config, *named, *data_options(Situation(model, "own"), tables), *model.options,
         f"--trainer.max_steps={model.steps}", "--trainer.limit_val_batches=0", f"--trainer.callbacks=[{callback}]",
         f"--trainer.logger.save_dir={run.parent}", f"--trainer.logger.name={model.name}"],
        run.with_suffix(".log"),
    )  # fmt: skip
    (run / "done").touch()
    return run


def audit(situation: Situation, tables: Tables, base: Path) -> dict[str, object]:
    """Audit a situation, if that was not done, and return the audit's record."""
    output = tables.work / "audits" / situation.name
    if not (output / "audit.json").is_file():
        run = train(situation.model, tables, base)
        is_phantom = situation.model.source == "phantoms"
        config, named = ("demo.yaml", []) if is_phantom else ("cxr.yaml", [f"--model.base={base}"])
        features = ["--options.scoring.encoder=PhantomEncoder"] if is_phantom else []
        _run(
            ["audit", "--config", config, *named, *data_options(situation, tables), "--ckpt_path", str(run),
             "--output", str(output), "--options.scoring.num_images=60", "--options.extraction.screened=100",
             "--options.extraction.prompts=4", "--options.extraction.samples=12", *features],
            output.with_suffix(".log"),
        )  # fmt: skip
    record: dict[str, object] = json.loads((output / "audit.json").read_text())["audited"][0]
    return record


def _run(arguments: list[str], log: Path) -> None:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file:
        done = subprocess.run([sys.executable, "-m", "memcontrol", *arguments], stdout=file, stderr=file, check=False)
    if done.returncode:
        raise SystemExit(f"`{' '.join(arguments)}` ended with {done.returncode}. See {log}")


def line_of(situation: Situation, record: dict[str, object]) -> dict[str, object]:
    """Return a situation's line of the table."""
    verdict, measures = record["verdict"], record["measures"]
    assert isinstance(verdict, dict)
    assert isinstance(measures, list)
    found = {m["name"]: m for m in measures}
    area = found["membership_calibrated"]["value"]["value"]
    return {
        "situation": situation.name,
        "calibrated AUC": round(area, 3),
        "verdict": verdict["outcome"],
        "found by": ", ".join(name for name, p in verdict["adjusted"].items() if p < 0.01) or "-",
        "right": " or ".join(situation.right),
        "wrong": "" if verdict["outcome"] in situation.right else "WRONG",
    }


def main() -> None:
    """Train, audit and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--adults", type=Path, required=True)
    parser.add_argument("--children", type=Path, required=True)
    parser.add_argument("--base", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("runs/situations"))
    parser.add_argument("--part", default="1/1", help="`1/2` makes the first of two parts, and prints nothing")
    arguments = parser.parse_args()
    roots = {"adults": arguments.adults.resolve(), "children": arguments.children.resolve()}
    tables = Tables(roots, arguments.work.resolve())
    part, parts = map(int, arguments.part.split("/"))
    lines = []
    for model in MODELS[part - 1 :: parts]:
        for situation in (s for s in situations() if s.model == model):
            lines.append(line_of(situation, audit(situation, tables, arguments.base.resolve())))
            print(lines[-1], flush=True)
    if parts == 1:
        print(pd.DataFrame(lines).to_string(index=False))


if __name__ == "__main__":
    main()
