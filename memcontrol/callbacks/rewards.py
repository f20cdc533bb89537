"""Score memorization and quality at validation epochs; training is the same without it, bit for bit."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import FSDPStrategy
from lightning.pytorch.trainer.states import TrainerFn

from memcontrol.callbacks.ema import averaged
from memcontrol.callbacks.overdue import is_overdue
from memcontrol.described import Described
from memcontrol.divergence import diverged, is_finite
from memcontrol.errors import RewardError
from memcontrol.files import worker_cache
from memcontrol.measures import (
    Evidence,
    Measurement,
    RealImages,
    Score,
    ScoredModel,
    ScoringOptions,
    chosen_measures,
    directions,
    score,
)
from memcontrol.measures.metric import MetricMeasure, MetricReward
from memcontrol.measures.score_log import append_score, read_scores
from memcontrol.measures.setting import setting_digest
from memcontrol.module import MemControlModule
from memcontrol.ranges import check_ranges
from memcontrol.seeds import scoped_seed

__all__ = ["RewardsCallback", "scorers"]

log = logging.getLogger("memcontrol")


class RewardsCallback(Described, Callback):
    """Logs `reward/memorization` and `reward/quality` (higher is better), and every measure with its interval.

    The validation split alone is seen: memorization is measured on training prompts, quality on held-out ones. The
    base is scored once, before the first step, as the null. Each point is appended to `rewards.jsonl` in the run
    folder: mask, learning rate, step, and all measures.

    Args:
        memorization: Measure that is the memorization reward.
        quality: Measure that is the quality reward.
        scoring: Which measures, how much is sampled and probed, and in which features.
        metrics: Further metrics, each a measure under its own name.
        every_n_validations: Score at every n-th validation, and at the last.
        score_base: Whether to score the base first, by all measures; without, only what calibrated ones need of it.
        scales: How far from the base (0) to what was trained (1) to go further, in [0, 1): each validation is scored
            there too, a point of its own for which nothing is trained. What is logged is that of `model.scale`.
        weight: Weight of quality in `reward/both`, in [0, 1], for sweeps that know one number only: what is won in
            quality over the base, times this, less what is lost in memorization, times the rest; both as shares of the
            base's values (or of 1, where that is 0). The base itself has 0.

    Raises:
        RewardError: If a measure is unknown, or a scale or the weight out of range.
    """

    def __init__(
        self,
        memorization: str = "membership_calibrated",
        quality: str = "kid",
        scoring: ScoringOptions = ScoringOptions(),  # noqa: B008 - frozen
        metrics: list[MetricReward] | None = None,
        every_n_validations: int = 1,
        score_base: bool = True,
        scales: list[float] | None = None,
        weight: float = 0.5,
    ) -> None:
        self.scales = sorted(set(scales or []))
        self.weight = weight
        check_ranges(RewardError, "", self, {"scales": "[0, 1)", "weight": "[0, 1]"})
        self.metrics = [MetricMeasure(metric) for metric in metrics or []]
        known = directions() | {metric.name: metric.higher_is_better for metric in self.metrics}
        for argument, name in (("memorization", memorization), ("quality", quality)):
            if name not in known:
                raise RewardError(f"Argument `{argument}` must be one of {sorted(known)}, but got {name!r}.")
        self.measured = {m.name for m in chosen_measures(scoring, self.metrics) if m.is_reward}
        self.memorization = memorization
        self.quality = quality
        self.scoring = scoring
        self.every_n_validations = every_n_validations
        self.score_base = score_base
        self.base: Evidence | None = None
        self.real: RealImages | None = None
        self.measurements: list[Measurement] = []
        self.scored: dict[float, list[Measurement]] = {}
        self.seconds = {"sampling": 0.0, "scoring": 0.0, "validation": 0.0}
        self.scored_step = -1
        self._count = 0
        self._trained_since = 0.0

    @property
    def seen_of_training(self) -> str:
        """What is measured on training patients, by name: private training refuses it."""
        chosen = chosen_measures(self.scoring, self.metrics)
        return ", ".join(f"`{m.name}`" for m in chosen if m.sees_training)

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Load the encoder: what is wrong with it is said before the base is loaded and data are encoded."""
        scales = [scale for scale in (*self.scales, getattr(pl_module, "scale", 1.0)) if scale != 1]
        if scales and isinstance(trainer.strategy, FSDPStrategy):
            raise RewardError(
                f"Arguments `scales` of RewardsCallback and `model.scale` ask for {scales}, but under FSDP only 1 can "
                "be scored, as weights cannot be moved. Leave them out, or train with another `trainer.strategy`."
            )
        if stage == "fit" and self.scoring.encoder is not None:
            _ = self.scoring.encoder.network

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the base: the null of every measure, and the point at step 0."""
        if isinstance(pl_module, MemControlModule):
            self._begin(trainer, pl_module)
            self._trained_since = time.monotonic()

    def on_fit_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score a run that was killed between its last step and its last score; resuming trains nothing then."""
        if isinstance(pl_module, MemControlModule) and self.real is None:
            self._begin(trainer, pl_module)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Score the model as it is."""
        is_fitting = trainer.state.fn == TrainerFn.FITTING
        if trainer.sanity_checking or not is_fitting or not isinstance(pl_module, MemControlModule):
            return
        self._count += 1
        is_last = trainer.global_step >= trainer.max_steps > 0
        if self.real is None or (self._count % self.every_n_validations and not is_last):
            return
        if not pl_module.has_last_weights:  # a mitigation changes them after the last step: these belong to no run
            return
        if not is_finite(pl_module.adapted.trainable()):
            raise diverged(trainer, "trained weights are not finite")
        trained = time.monotonic() - self._trained_since
        started = time.monotonic()
        self._score_all(trainer, pl_module)
        for name, value in self._logged().items():
            pl_module.log(name, value, rank_zero_only=False, sync_dist=False)
        took = time.monotonic() - started
        self.seconds["scoring"] += took
        self.seconds["validation"] += took
        self._warn(pl_module, trained, took)
        self._trained_since = time.monotonic()

    def state_dict(self) -> dict[str, Any]:
        """Return how many validations there were, so that a resumed run scores at the same ones."""
        return {"count": self._count}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Undo `state_dict`."""
        self._count = int(state_dict["count"])

    def rewards(self, scale: float | None = None) -> dict[str, float]:
        """Return the last rewards, higher is better: of each measure by name, and of both groups as they are logged.

        Args:
            scale: One of the scales that were scored; by default the model's own.

        Raises:
            RewardError: If the reward of a group could not be estimated.
        """
        measurements = self.measurements if scale is None else self.scored[scale]
        found = {m.name: m.reward for m in measurements if m.value is not None}
        for group, name in (("memorization", self.memorization), ("quality", self.quality)):
            measured = next((m for m in measurements if m.name == name), None)
            if measured is None and name in self.measured:
                raise RewardError(f"The reward `{name}` could not be estimated. Choose another `{group}`.")
            if measured is not None:
                found[f"reward/{group}"] = measured.reward
        return found

    # Parts

    def _begin(self, trainer: Trainer, module: MemControlModule) -> None:
        """Score the base, then what a kill has cut off."""
        started = time.monotonic()
        if self.real is None:
            data = trainer.datamodule  # type: ignore[attr-defined]
            self.real = RealImages(data, "validate", self.scoring.features(), self.scoring.seed)
        calibrated = [m.name for m in chosen_measures(self.scoring, self.metrics) if m.needs_base]
        if (self.score_base or calibrated) and self.base is None:
            scoring = self.scoring if self.score_base else replace(self.scoring, measures=calibrated)
            sampling = scoring.sampling_of(module.sampling)
            setting = setting_digest(self.real, scoring, sampling, module.image_size)
            key = ("base", module.base_fingerprint, module.truncation_side, setting)
            found = worker_cache.cached(key, lambda: self._score_of_base(trainer, module, scoring))
            self.base = found.evidence
            if self.score_base:
                self._record(trainer, module, found, step=0)
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if (
            log_dir is not None
            and module.has_last_weights
            and is_overdue(trainer, {scored.step for scored in read_scores(Path(log_dir))})
        ):
            with averaged(trainer, module):
                self._score_all(trainer, module)
        self.seconds["scoring"] += time.monotonic() - started

    def _score_all(self, trainer: Trainer, module: MemControlModule) -> None:
        """Score the model at each scale, and last at its own."""
        self.scored = {}
        for scale in [*(s for s in self.scales if s != module.scale), module.scale]:
            self._record(trainer, module, self._score(trainer, module, scale=scale), scale=scale)

    def _score(
        self,
        trainer: Trainer,
        module: MemControlModule,
        scoring: ScoringOptions | None = None,
        merge: bool = True,
        scale: float = 1.0,
    ) -> Score:
        assert self.real is not None
        scoring = scoring or self.scoring
        can_merge = merge and not isinstance(trainer.strategy, FSDPStrategy)
        with _undisturbed(module), module.adapted.merged(scale) if can_merge else nullcontext():
            model = ScoredModel(
                module.pipeline(),
                module.image_size,
                scoring.sampling_of(module.sampling),
                trainer.precision_plugin.forward_context,
            )
            found = score(
                model,
                self.real.data,
                "validate",
                scoring,
                self.base,
                real=self.real,
                further=self.metrics if scoring is self.scoring else (),
                encode=False,
            )
        self.seconds["sampling"] += found.sampling_seconds
        return found

    def _score_of_base(self, trainer: Trainer, module: MemControlModule, scoring: ScoringOptions) -> Score:
        with module.adapted.as_base():
            return self._score(trainer, module, scoring, merge=False)

    def _record(
        self,
        trainer: Trainer,
        module: MemControlModule,
        found: Score,
        step: int | None = None,
        scale: float = 1.0,
    ) -> None:
        self.measurements = self.scored[scale] = found.measurements
        self.scored_step = trainer.global_step if step is None else step
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if not trainer.is_global_zero or log_dir is None:
            return
        about = {
            "mask": f"bits:{module.mask.bit_string}",
            "slots": module.mask.layout,
            "lr": module.optimizer_options.lr,
            "memorization": self.memorization,
            "quality": self.quality,
            **({} if scale == 1 else {"scale": scale}),
        }
        append_score(Path(log_dir), self.scored_step, self.measurements, about)

    def _logged(self) -> dict[str, float]:
        values = {name: value for name, value in self.rewards().items() if name.startswith("reward/")}
        values |= self._both(values)
        for found in self.measurements:
            if found.value is not None:
                name = f"{found.group}/{found.name}"
                values |= {name: found.value.value, f"{name}_low": found.value.low, f"{name}_high": found.value.high}
        return values

    def _both(self, rewards: dict[str, float]) -> dict[str, float]:
        """Return one number for both groups, where both were measured and stand beside the base."""
        chosen = {"memorization": (self.memorization, 1 - self.weight), "quality": (self.quality, self.weight)}
        known = {m.name: m for m in self.measurements if m.null is not None}
        if any(f"reward/{group}" not in rewards or name not in known for group, (name, _) in chosen.items()):
            return {}
        total = 0.0
        for group, (name, weight) in chosen.items():
            base = known[name].reward_of_null
            total += weight * (rewards[f"reward/{group}"] - base) / (abs(base) or 1.0)
        return {"reward/both": total}

    def _warn(self, module: MemControlModule, trained: float, scored: float) -> None:
        if scored > trained and self._count == 1:
            log.warning(
                "Scoring took %.0f s after %.0f s of training: up to twice %d images of %d steps, and twice %d probes. "
                "Lower `scoring.num_images`, name fewer `scoring.measures`, or raise `every_n_validations` or the "
                "trainer's `val_check_interval`.",
                scored,
                trained,
                self.scoring.num_images,
                self.scoring.sampling_of(module.sampling).steps,
                self.scoring.num_probes,
            )


def scorers(trainer: Trainer) -> list[RewardsCallback]:
    """Return the trainer's callbacks of this kind."""
    return [c for c in trainer.callbacks if isinstance(c, RewardsCallback)]  # type: ignore[attr-defined]


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
