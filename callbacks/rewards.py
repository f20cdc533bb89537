"""Score memorization and quality at validation epochs; training is the same without it, bit for bit."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.trainer.states import TrainerFn

from callbacks.ema import averaged
from memcontrol import resident
from memcontrol.errors import DivergedError, RewardError
from memcontrol.module import MemControlModule
from memcontrol.rewards.metric import MetricReward
from memcontrol.rewards.objective import reward_of
from memcontrol.scoring import Evidence, Measure, RealImages, ScoredModel, ScoringOptions, collect, measure
from memcontrol.scoring.measures import HIGHER_IS_BETTER
from memcontrol.scoring.metrics import metric_measures
from memcontrol.scoring.points import REWARDS_FILE, read_scored
from memcontrol.seeds import scoped_seed

__all__ = ["RewardsCallback"]

log = logging.getLogger("memcontrol")


class RewardsCallback(Callback):
    """Logs `reward/memorization` and `reward/quality` (higher is better), and every measure with its interval.

    The validation split alone is seen: memorization is measured on training prompts, quality on held-out ones. The
    base is scored once, before the first step, as the null. Each point is appended to `rewards.jsonl` in the run
    folder: mask, learning rate, step, and all measures.

    Args:
        memorization: Measure that is the memorization reward.
        quality: Measure that is the quality reward.
        scoring: How much is drawn and probed, and in which features.
        metrics: Further metrics, each a measure of quality under its own name.
        every_n_validations: Score at every n-th validation, and at the last.
        score_base: Whether to score the base first.

    Raises:
        RewardError: If a measure is unknown.
    """

    def __init__(
        self,
        memorization: str = "membership_auc",
        quality: str = "kid",
        scoring: ScoringOptions = ScoringOptions(),  # noqa: B008 - frozen
        metrics: list[MetricReward] | None = None,
        every_n_validations: int = 1,
        score_base: bool = True,
    ) -> None:
        self.metrics = metrics or []
        self.directions = HIGHER_IS_BETTER | {m.name: bool(m.direction) for m in self.metrics}
        for argument, name in (("memorization", memorization), ("quality", quality)):
            if name not in self.directions:
                raise RewardError(f"Argument `{argument}` must be one of {sorted(self.directions)}, but got {name!r}.")
        self.memorization = memorization
        self.quality = quality
        self.scoring = scoring
        self.every_n_validations = every_n_validations
        self.score_base = score_base
        self.base: Evidence | None = None
        self.real: RealImages | None = None
        self.measures: list[Measure] = []
        self.seconds = 0.0
        self.sampling_seconds = 0.0
        self.validation_seconds = 0.0
        self.scored_step = -1
        self._count = 0
        self._trained_since = 0.0
        self._steps = 0

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the encoder: what is wrong with it is said before the base is loaded and data are encoded."""
        if stage == "fit" and self.scoring.encoder is not None:
            _ = self.scoring.encoder.network

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the base: the null of every measure, and the point at step 0."""
        if isinstance(pl_module, MemControlModule):
            self._prepare(trainer, pl_module)
            self._catch_up(trainer, pl_module)
            self._trained_since = time.monotonic()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score a run that was killed between its last step and its last score; resuming trains nothing then."""
        if isinstance(pl_module, MemControlModule) and self.real is None:
            self._prepare(trainer, pl_module)
            self._catch_up(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the model as it is."""
        is_fitting = trainer.state.fn == TrainerFn.FITTING
        if trainer.sanity_checking or not is_fitting or not isinstance(pl_module, MemControlModule):
            return
        self._count += 1
        is_last = trainer.global_step >= trainer.max_steps > 0
        if self.real is None or (self._count % self.every_n_validations and not is_last):
            return
        if not all(bool(p.isfinite().all()) for p in pl_module.adapted.trainable().values()):
            raise DivergedError(
                f"Training has diverged: trained weights are not finite at step {trainer.global_step}. Lower "
                "`model.optimizer.lr`, or clip gradients with `trainer.gradient_clip_val`."
            )
        started = time.monotonic()
        evidence = self._collect(trainer, pl_module, merge=True)
        self._record(trainer, pl_module, evidence, trainer.global_step)
        for name, value in self._values().items():
            pl_module.log(name, value, rank_zero_only=False, sync_dist=False)
        took = time.monotonic() - started
        self.seconds += took
        self.validation_seconds += took
        self._warn(started - self._trained_since, took)
        self._trained_since = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return how many validations there were, so that a resumed run scores at the same ones."""
        return {"count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self._count = int(state_dict["count"])

    def reward(self, group: str) -> Measure:
        """Return the last measure that is the reward of a group, `memorization` or `quality`.

        Raises:
            RewardError: If it could not be estimated.
        """
        name = self.memorization if group == "memorization" else self.quality
        found = next((m for m in self.measures if m.name == name), None)
        if found is None or found.value is None:
            why = found.note if found else "nothing was scored"
            raise RewardError(f"The reward `{name}` could not be estimated: {why}. Choose another `{group}`.")
        return found

    def rewards(self) -> dict[str, float]:
        """Return the last rewards, higher is better: of both groups as they are logged, and of each measure by name."""
        groups = {f"reward/{group}": self.reward(group) for group in ("memorization", "quality")}
        every = groups | {found.name: found for found in self.measures}
        return {
            name: reward_of(found.value.value, found.higher_is_better)
            for name, found in every.items()
            if found.value is not None
        }

    # Parts

    def _prepare(self, trainer: Trainer, pl_module: MemControlModule) -> None:
        started = time.monotonic()
        if self.real is None:
            data = trainer.datamodule  # type: ignore[attr-defined]
            self.real = RealImages(data, "validate", self.scoring.features(), self.scoring.seed)
        if self.score_base and self.base is None:
            key = ("base evidence", *self._key(pl_module))
            self.base = resident.kept(key, lambda: self._collect_base(trainer, pl_module))
            self._record(trainer, pl_module, self.base, step=0)
        self.seconds += time.monotonic() - started

    def _catch_up(self, trainer: Trainer, module: MemControlModule) -> None:
        """Score a resumed checkpoint whose validation was due, but was cut off before it was written."""
        step, interval = trainer.global_step, trainer.val_check_batch
        batches = trainer.fit_loop.epoch_loop.total_batch_idx + 1
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if step == 0 or log_dir is None or trainer.check_val_every_n_epoch is not None:
            return
        is_due = step == trainer.max_steps or (isinstance(interval, int) and batches % interval == 0)
        if not is_due or step in {record["step"] for record in read_scored(Path(log_dir))}:
            return
        with averaged(trainer, module):
            evidence = self._collect(trainer, module, merge=True)
        self._record(trainer, module, evidence, step)

    def _collect(self, trainer: Trainer, module: MemControlModule, merge: bool) -> Evidence:
        assert self.real is not None
        can_merge = merge and not isinstance(trainer.strategy, FSDPStrategy)
        sampling = self.scoring.sampling_of(module.sampling)
        self._steps = sampling.steps
        with _undisturbed(module), module.adapted.merged() if can_merge else nullcontext():
            model = ScoredModel(
                module.pipeline(),
                module.image_size,
                sampling,
                trainer.precision_plugin.forward_context,
            )
            evidence = collect(model, self.real, self.scoring)
        self.sampling_seconds += evidence.sampling_seconds
        return evidence

    def _collect_base(self, trainer: Trainer, module: MemControlModule) -> Evidence:
        with module.adapted.as_base():
            return self._collect(trainer, module, merge=False)

    def _key(self, module: MemControlModule) -> tuple[str, ...]:
        """Return what the base's scores depend on."""
        assert self.real is not None
        data = self.real.data
        rows = [data.table(split)[["content", "text"]].to_csv() for split in ("train", "validate")]
        repeated = str(data.memorized_rows().tolist())
        described = repr((self.scoring, self.scoring.sampling_of(module.sampling), module.image_size, repeated))
        return module.base_fingerprint, self.real.encoder.digest, described, *rows

    def _record(self, trainer: Trainer, module: MemControlModule, evidence: Evidence, step: int) -> None:
        assert self.real is not None
        base = self.base if evidence is not self.base else None
        self.measures = measure(evidence, self.real, self.scoring, base)
        self.measures += metric_measures(self.metrics, evidence, self.real)
        self.scored_step = step
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if not trainer.is_global_zero or log_dir is None:
            return
        point = {
            "step": step,
            "mask": f"bits:{module.mask.bit_string}",
            "slots": module.mask.layout,
            "lr": module.optimizer_options.lr,
            "memorization": self.memorization,
            "quality": self.quality,
            "measures": [m.to_dict() for m in self.measures],
        }
        Path(log_dir).mkdir(parents=True, exist_ok=True)
        path = Path(log_dir) / REWARDS_FILE
        torn = path.is_file() and path.read_bytes()[-1:] not in (b"", b"\n")  # by a kill
        with path.open("a") as file:
            file.write(("\n" if torn else "") + json.dumps(point) + "\n")

    def _values(self) -> dict[str, float]:
        values = {name: value for name, value in self.rewards().items() if name.startswith("reward/")}
        for found in self.measures:
            if found.value is not None:
                name = f"{found.group}/{found.name}"
                values |= {name: found.value.value, f"{name}_low": found.value.low, f"{name}_high": found.value.high}
        return values

    def _warn(self, trained: float, scored: float) -> None:
        if scored > trained and self._count == 1:
            log.warning(
                "Scoring took %.0f s after %.0f s of training: twice %d images of %d steps, and twice %d probes. Lower "
                "`scoring.num_images`, or raise `every_n_validations` or the trainer's `val_check_interval`.",
                scored,
                trained,
                self.scoring.num_images,
                self._steps,
                self.scoring.num_probes,
            )


@contextmanager
def _undisturbed(module: MemControlModule) -> Iterator[None]:
    """Evaluate inside the block, and leave modes and random states as they were."""
    was_training = module.unet.training
    module.unet.eval()
    try:
        with scoped_seed(0, "rewards"):
            yield
    finally:
        module.unet.train(was_training)
