"""Configs that somebody else wrote: those of `hostile_configs.yaml`, names of code in each slot, and bombs."""

from __future__ import annotations

import hashlib
import os
import pickle
from itertools import pairwise, product
from pathlib import Path
from typing import Any

import yaml

EVIL = "import os\nclass X:\n    def __init__(self, *a, **k): os.system({command!r})\ndef f(*a, **k): X()\nX()\n"
SHORT = (
    "--data.num_subjects=24",
    "--data.split_fractions=[0.5,0.25,0.25]",
    "--data.batch_size=8",
    "--data.memorization.num_images=2",
    "--trainer.max_steps=1",
    "--trainer.val_check_interval=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
    "--model.sampling.steps=1",
    "--model.eval_draws=1",
)
NAMES = (
    "evil.X",
    "evil.f",
    "os.system",
    "subprocess.Popen",
    "builtins.exec",
    "torch.os.system",
    "torch.hub.load",
    "runpy.run_path",
    "importlib.import_module",
    "webbrowser.open",
    "lightning.pytorch.callbacks.LambdaCallback",
    "lightning.pytorch.loggers.WandbLogger",
    "lightning.pytorch.loggers.MLFlowLogger",
    "torch.distributed.elastic.multiprocessing.subprocess_handler.SubprocessHandler",
    "torch.distributed.launcher.api.launch_agent",
    "transformers.AutoModel.from_pretrained",
    "memcontrol.jobs.parsl.ParslWorkers",
    "memcontrol.cli.main.os.system",
    "memcontrol.adapters.inject.torch.hub.load",
)
REWARDS = "trainer: {callbacks: [{class_path: callbacks.RewardsCallback, init_args: {OPTIONS}}]}"
NETWORK = "scoring: {encoder: {class_path: memcontrol.measures.encoders.ModuleEncoder, init_args: {network: NAME}}}"
SLOTS = {
    "model": "model: NAME",
    "data": "data: NAME",
    "logger": "trainer: {logger: NAME}",
    "one of the loggers": "trainer: {logger: [NAME]}",
    "callback": "trainer: {callbacks: [NAME]}",
    "strategy": "trainer: {strategy: NAME}",
    "plugin": "trainer: {plugins: [NAME]}",
    "profiler": "trainer: {profiler: NAME}",
    "accelerator": "trainer: {accelerator: NAME}",
    "adapter": "model: {class_path: memcontrol.MemControlModule, init_args: {adapter: NAME}}",
    "optimizer": "model: {class_path: memcontrol.MemControlModule, init_args: {optimizer: NAME}}",
    "mitigation": "model: {class_path: memcontrol.MemControlModule, init_args: {mitigations: [NAME]}}",
    "encoder": REWARDS.replace("OPTIONS", "scoring: {encoder: NAME}"),
    "network of an encoder": REWARDS.replace("OPTIONS", NETWORK),
    "measure": REWARDS.replace("OPTIONS", "metrics: [NAME]"),
}


def in_slots() -> dict[str, str]:
    """Return each slot with some of the names, as a class with arguments and as text."""
    found = {}
    for number, (slot, name) in enumerate(product(SLOTS, NAMES)):
        if number % 5 == 0:
            value = f"{{class_path: {name}, init_args: {{args: ['{{evil}}']}}}}" if number % 2 else name
            found[f"{name} as {slot}"] = SLOTS[slot].replace("NAME", value)
    return found


def bombs() -> dict[str, str]:
    """Return configs that grow when they are read."""
    letters = "abcdefghi"
    grown = [f"{b}: &{b} [{', '.join([f'*{a}'] * 9)}]" for a, b in pairwise(letters)]
    return {
        "aliases": "\n".join(["a: &a [x, x, x, x, x, x, x, x, x]", *grown, "model: *i"]),
        "aliases in callbacks": "\n".join(["a: &a [x, x, x]", *grown, "trainer: {callbacks: *i}"]),
        "depth": "model: " + "[" * 3000 + "]" * 3000,
        "depth of mappings": "model: " + "{a: " * 3000 + "1" + "}" * 3000,
        "long number": "seed_everything: " + "9" * 10000,
        "long key": "x" * 100000 + ": 1",
        "many callbacks": "trainer: {callbacks: [" + ", ".join(["LearningRateMonitor"] * 2000) + "]}",
    }


def cases() -> dict[str, tuple[str, Any]]:
    """Return all cases: name of each, its kind and what it is."""
    kinds = yaml.safe_load(Path(__file__).with_suffix(".yaml").read_text())
    kinds["classes in slots"] = in_slots()
    kinds["bombs"] |= bombs()
    return {f"{kind}: {name}": (kind, case) for kind, of in kinds.items() for name, case in of.items()}


class _Runs:
    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> Any:
        return os.system, (self.command,)


def write_pickle(path: Path, command: str) -> str:
    """Write a file that runs a command when it is unpickled, and return its digest."""
    path.write_bytes(pickle.dumps(_Runs(command)))
    return hashlib.sha256(path.read_bytes()).hexdigest()


def lay_out(case: Any, room: Path, canaries: Path, port: int) -> list[str]:
    """Write the files of a case, and return the arguments of its command."""
    what = {"hostile": case} if isinstance(case, str) else dict(case)
    command = f"touch {canaries / 'ran'}"
    (canaries / "secret.txt").write_text("class_path: evil.X\n")
    files = {"evil.py": EVIL.format(command=command), **what.get("files", {})}
    if "hostile" in what:
        files["hostile.yaml"] = what["hostile"]
    known = {"{canaries}": str(canaries), "{port}": str(port), "{evil}": command}
    for name in what.get("pickles", ()):
        known["SHA"] = write_pickle(room / name, command)
    for name in what.get("fifos", ()):
        os.mkfifo(room / name)

    def filled(text: str) -> str:
        for word, value in known.items():
            text = text.replace(word, value)
        return text

    for name, text in files.items():
        (room / name).parent.mkdir(parents=True, exist_ok=True)
        (room / name).write_text(filled(text))
    start = what.get("command", ["fit", "--config", "demo.yaml", *SHORT])
    return [*start, *map(filled, what.get("args", ["--config", "hostile.yaml"]))]
