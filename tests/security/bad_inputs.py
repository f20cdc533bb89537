"""Inputs that a user gets wrong: each ends in one error that names what was wrong, before anything is trained."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image

from tests.security.hostile_configs import SHORT
from tests.security.hostile_files import DATA, EMBEDDED, FIXTURES
from tests.security.sandbox import Outcome

TABLE = Path(__file__).with_name("bad_inputs.txt")
SCORING = ("num_images=8", "num_probes=8", "draws=1", "attacks=false", "encoder=ThumbnailEncoder", "sampling.steps=1")
REWARDS = (
    "{class_path: callbacks.RewardsCallback, init_args: {memorization: noise_norm, quality: kid, scoring: {num_images: "
    "8, num_probes: 8, draws: 1, attacks: false, sampling: {steps: 1}, encoder: {class_path: "
    "memcontrol.measures.encoders.PhantomEncoder}}}}, {class_path: callbacks.ParetoCheckpoint}, {class_path: "
    "callbacks.AdapterCheckpoint, init_args: {every_n_train_steps: 1}}"
)
DEMO = ["--config", "demo.yaml"]
COMMANDS = {
    "fit": ["fit", *DEMO, *SHORT],
    "fit images": ["fit", *DEMO, "--config", "data.yaml", *SHORT[3:]],
    "validate": ["validate", *DEMO, *SHORT],
    "test": ["test", *DEMO, *SHORT],
    "predict": ["predict", *DEMO, "--prompts=[x]", "--sampling.steps=1"],
    "export": ["export", *DEMO, "--ckpt_path=run", "--output=merged"],
    "slots": ["slots", *DEMO],
    "init": ["init", *DEMO, "--folder=images", "--base=embedded", "--output=mine.yaml", "--copies_among=8"],
    "study": ["study", *DEMO, "--folder=study"],
    "withdraw": ["withdraw", *DEMO, "--patient=p", "--folders=[run]"],
    "audit": [
        "audit",
        *DEMO,
        *SHORT[:4],
        "--ckpt_path=run",
        *(f"--options.scoring.{option}" for option in SCORING),
        "--options.extraction.prompts=0",
    ],
    "steps": [
        "steps",
        *DEMO,
        *SHORT[:4],
        "--ckpt_path=[run,run1,run2,run3]",
        "--sampler_steps=[2]",
        "--reference=3",
        *(f"--scoring.{option}" for option in SCORING),
    ],
    "plant": ["plant", *DEMO, "--data.num_subjects=40", "--data.transform.size=64", "--encoders=[ThumbnailEncoder]"],
    "search": [
        "search",
        *DEMO,
        "--config",
        "search/demo.yaml",
        *SHORT,
        f"--trainer.callbacks=[{REWARDS}]",
        "--search.study=study",
        "--search.trials=1",
        "--search.workers=1",
        "--search.threads=1",
        "--search.rescore_factor=0",
        "--search.objectives=[noise_norm,kid]",
    ],
    "compare": [
        "compare",
        "--config",
        "compare/smoke.yaml",
        "--compare.folder=compared",
        "--compare.evidence=evidence",
        "--compare.methods=[compare/methods/svdiff.yaml]",
        "--compare.random_masks=0",
        "--compare.workers=1",
        *SHORT[4:],
        "--compare.lrs=[0.001]",
    ],
    "": [],
}
"""A short run of each command, which works (that of compare takes minutes): what a case adds is what is wrong."""


def cases() -> dict[str, tuple[str, Any]]:
    """Return all cases: name of each, its command, and its arguments with the word that its error must hold."""
    works = [name for name in COMMANDS if name not in ("", "compare")]
    found: dict[str, tuple[str, Any]] = {f"{name}: good": (name, (name, "", None)) for name in works}
    command = ""
    for line in TABLE.read_text().splitlines():
        if line.startswith("["):
            command = line.rstrip("]").lstrip("[")
        elif line.strip() and not line.startswith("#"):
            arguments, _, word = line.partition("  #") if not line.startswith(" ") else ("", "", line.strip(" #"))
            found[f"{command}: {arguments.strip()}"] = (command, (command, arguments.strip(), word.strip()))
    return found


def lay_out(case: Any, room: Path, canaries: Path, port: int) -> list[str]:
    """Write what cases name, and return the arguments of the command."""
    command, arguments, _ = case
    shutil.copytree(FIXTURES / "run", room / "run")
    if command == "study":
        shutil.copytree(FIXTURES / "study", room / "study")
    if command == "steps":
        for number in (1, 2, 3):
            shutil.copytree(FIXTURES / "run", room / f"run{number}")
    (room / "empty").mkdir()
    (room / "damaged").mkdir()
    (room / "damaged" / "patients.npz").write_bytes(b"hello")
    about = {"salt": "00", "described": [], "training_set": "0"}
    np.savez(
        room / "run" / "patients.npz",
        about=np.frombuffer(json.dumps(about).encode(), dtype=np.uint8),
        patient=np.zeros(1, np.uint64),
        content=np.array([b"0"]),
        split=np.zeros(1, np.uint8),
        text=np.zeros(1, np.uint64),
        row_of_text=np.zeros(1, np.uint32),
    )
    (room / "images").mkdir()
    pixels = np.random.default_rng(0).integers(0, 255, (20, 64, 64), dtype=np.uint8)
    rows = [{"file_name": f"{i:02d}.png", "text": f"CXR PA {i}", "subject_id": i // 2} for i in range(len(pixels))]
    for row, image in zip(rows, pixels, strict=True):
        Image.fromarray(image).save(room / "images" / row["file_name"])
    pd.DataFrame(rows).to_csv(room / "images" / "metadata.csv", index=False)
    files = {
        "file.txt": "hello\n",
        "table.csv": "a,b\n1,2\n",
        "blank.csv": 'text\nx\n" "\n',
        "data.yaml": DATA,
        "mask.yaml": "mask: [1]\n",
        "list.yaml": "- 1\n",
        "tab.yaml": "model:\n\tbase: x\n",
        "twice.yaml": "trainer: {max_steps: 1}\ntrainer: {max_steps: 2}\n",
        "unknown.yaml": "modle: {base: x}\n",
    }
    for name, content in files.items():
        (room / name).write_text(content)
    for name in ("bytes.yaml", "bytes.csv"):
        (room / name).write_bytes(b"\xff\xfe\x00\x01")
    if "other" in arguments:
        other = room / "other"
        shutil.copytree(EMBEDDED, other)
        weights = other / "unet" / "diffusion_pytorch_model.safetensors"
        raw = bytearray(weights.read_bytes())
        raw[8 + int.from_bytes(raw[:8], "little")] ^= 1
        weights.write_bytes(bytes(raw))
    return [*COMMANDS[command], *shlex.split(arguments)]


def harm_of(outcome: Outcome, case: Any) -> str:
    """Return what is wrong with how a case ended; empty if it is as it must be."""
    if case[2] is None:
        return "" if outcome.kind == "accepted" else f"a good input is refused: {outcome.error}"
    if outcome.kind != "clear":
        return {"accepted": "it was taken silently", "hang": "it hangs"}.get(outcome.kind, "a traceback")
    word = case[2]
    if word.lower() not in outcome.error.lower():
        return f"the error does not name {word!r}"
    if any(line.startswith("write") or line.startswith("socket") for line in outcome.seen):
        return "; ".join(outcome.seen[:3])
    return ""
