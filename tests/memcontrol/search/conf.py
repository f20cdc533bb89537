"""Arguments of short studies, and what they left."""

from __future__ import annotations

from concurrent.futures import Executor, Future

from memcontrol.search.journal import Journal
from tests.conf import short_run

SCORING = (
    "{class_path: callbacks.RewardsCallback, init_args: {memorization: noise_norm, quality: kid, scoring: "
    "{num_images: 8, num_probes: 8, draws: 1, attacks: false, sampling: {steps: 1}, encoder: {class_path: "
    "memcontrol.rewards.encoders.PhantomEncoder}}}}"
)
KEEP = (
    "{class_path: callbacks.ParetoCheckpoint},"
    "{class_path: callbacks.AdapterCheckpoint, init_args: {every_n_train_steps: 1}}"
)


class Inline(Executor):
    """Runs what it is given at once, in this process."""

    def submit(self, fn, /, *args, **kwargs):
        future = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def arguments(folder, trials=3, *extra):
    args = [a for a in short_run(folder) if "callbacks" not in a and "logger" not in a][1:]
    return [
        "search", *args, "--trainer.max_steps=2", "--trainer.val_check_interval=1",
        f"--search.study={folder / 'study'}",
        f"--trainer.callbacks=[{SCORING},{KEEP}]", f"--search.trials={trials}", "--search.workers=1",
        "--search.objectives=[noise_norm,kid]", "--search.rescore_factor=0", "--search.threads=1", *extra,
    ]  # fmt: skip


def trials(folder):
    return Journal(folder / "study" / "journal.jsonl").trials()
