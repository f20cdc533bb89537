"""Training under a bound per patient: what is refused, and what a step does in place of the usual one."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from memcontrol.adapters.configs import config_to_plain
from memcontrol.data.poisson import PoissonSampler
from memcontrol.errors import CheckpointError, GuaranteeError
from memcontrol.files.atomic import write_json
from memcontrol.files.card import Card
from memcontrol.files.run_folder import PRIVACY, SECRET, find_run
from memcontrol.privacy.accounting import Steps, noise_multiplier_for
from memcontrol.privacy.canaries import Canaries
from memcontrol.privacy.clipping import ClippedSums, clipped_sums
from memcontrol.privacy.guarantee import Guarantee, Unit
from memcontrol.privacy.options import PrivacyOptions
from memcontrol.privacy.secret import Secret, read_key, write_key
from memcontrol.types import Batch

__all__ = ["PrivateTraining"]

log = logging.getLogger("memcontrol")

STRATEGIES: Final = ("SingleDeviceStrategy", "DDPStrategy")
PRECISIONS: Final = ("32-true", "bf16-mixed", "64-true")

LossesOf = Callable[[Batch], Tensor]
"""Takes a batch and returns the loss of each sample, with shape `(B,)`."""


class PrivateTraining:
    """What private training keeps between steps.

    Args:
        options: The bound.
        secret: Random numbers; by default of a new key. A test gives its own.
    """

    def __init__(self, options: PrivacyOptions, secret: Secret | None = None) -> None:
        self.options = options
        self.secret = secret
        self._is_given = secret is not None
        self.noise_multiplier = 0.0
        self.rate = 1.0
        self.patients = 0
        self.canaries: Canaries | None = None
        self._keys: list[Path] = []
        self._has_trained = False
        self._context = ""
        self._sums: ClippedSums = {}
        self._visits = torch.zeros((), dtype=torch.int64)
        """Sum of the seeds of a batch's visits, which with its gradients says what noise belongs to."""
        self._planned = 0
        """Steps of the whole training."""
        self._unit: Unit = "patient"

    # Before training

    def prepare(self, trainer: Trainer, mitigations: list[Any]) -> None:
        """Refuse what the bound does not cover, solve for the noise, and have patients taken by coins.

        Args:
            trainer: With its data set up.
            mitigations: Those of the module.

        Raises:
            GuaranteeError: If the bound would not hold.
        """
        data = getattr(trainer, "datamodule", None)
        self._refuse(trainer, data, mitigations)
        if trainer.max_steps < 1:
            raise GuaranteeError(
                "What a private training costs follows from the number of steps, which is said beforehand. Set "
                "`trainer.max_steps`."
            )
        assert data is not None
        table = data.table("train")
        self.patients = int(table["subject_id"].nunique())
        self._planned = trainer.max_steps
        named_by_image = data.each_image_a_subject and (table["subject_id"] == table["path"]).all()
        self._unit = "image" if named_by_image else "patient"
        _refuse_two_ids(table)
        if not self.options.delta * self.patients < 1:
            raise GuaranteeError(
                f"Argument `model.privacy.delta` is {self.options.delta:g}, but must be below 1 / {self.patients} "
                "(training patients): else a training that gives one patient away whole would count as private."
            )
        expected = data.batch_size * trainer.world_size
        self.rate = min(1.0, expected / self.patients)
        self.noise_multiplier = self._noise(trainer)
        device = trainer.strategy.root_device.type  # where numbers are drawn otherwise
        settings = repr((sorted(self.settings().items()), data.training_set(), device))
        self._context = hashlib.sha256(settings.encode()).hexdigest()
        self._take_key(trainer, self.secret.key if self._is_given and self.secret is not None else Secret().key)
        data.take_patients(self.rate, self.options.draws, self._streams)
        log.info(
            "Private: each of %d patients is taken with probability %.3g (%.3g in a step), clipped to %g and noised "
            "with %g times as much; at the end, the bound is %s",
            self.patients,
            self.rate,
            self.rate * self.patients,
            self.options.clip,
            self.noise_multiplier,
            self.guarantee(trainer.max_steps),
        )

    def settings(self) -> dict[str, Any]:
        """Return what a run that goes on cannot change."""
        return {
            **{name: value for name, value in asdict(self.options).items() if name != "microbatch"},
            "noise_multiplier": self.noise_multiplier,
            "rate": self.rate,
            "patients": self.patients,
        }

    def begin(self, trainer: Trainer, trained: Mapping[str, nn.Parameter]) -> None:
        """Get ready for the first step.

        Raises:
            GuaranteeError: If canaries would miss steps.
        """
        assert self.secret is not None
        if self._has_trained and not trainer.global_step:
            raise GuaranteeError(
                "This module has been trained before, so what its patients have given away is more than a new run "
                "would count. Make a new module, or go on from the run's checkpoint."
            )
        self._has_trained = True
        _refuse_dropout(trainer.lightning_module)
        sampler = getattr(trainer.train_dataloader, "sampler", None)
        if not isinstance(sampler, PoissonSampler) or sampler.rate != self.rate:
            raise GuaranteeError(
                f"Private training takes patients by coins, but batches are chosen by {type(sampler).__name__}: the "
                "data module makes a loader of its own. Leave `train_dataloader` to `CaptionedImageDataModule`."
            )
        if isinstance(trainer.strategy.model, DistributedDataParallel):
            trainer.strategy.model.require_backward_grad_sync = False  # what is summed over ranks is summed here
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if trainer.is_global_zero and log_dir is not None:
            self._keys.append(Path(log_dir) / SECRET)
            write_key(self._keys[-1], self.secret.key)
            planned = self.guarantee(trainer.max_steps)  # what a run that dies has spent at most
            write_json(Path(log_dir) / PRIVACY, {"guarantee": planned.to_dict()})
        if self.options.canaries:
            if trainer.global_step:
                raise GuaranteeError(
                    "A run with `model.privacy.canaries` cannot go on after a kill, since what its canaries gave away "
                    "before is not kept. Start a new run."
                )
            self.canaries = Canaries(self.options.canaries, trained, self.secret)

    # Steps

    def sum_gradients(
        self, module: nn.Module, trained: Mapping[str, nn.Parameter], losses: LossesOf, batch: Batch
    ) -> None:
        """Take the clipped gradients of a batch's patients; the batch may be empty.

        Args:
            module: What is trained.
            trained: Its trained parameters.
            losses: Returns the loss of each sample.
            batch: Samples, those of a patient one after the other.
        """
        draws = self.options.draws
        patients = len(batch["seed"]) // draws if batch else 0

        def of_patients(start: int, stop: int) -> Tensor:
            part = {name: value[start * draws : stop * draws] for name, value in batch.items()}  # type: ignore[index]
            return losses(cast("Batch", part)).view(-1, draws).mean(dim=1)

        self._sums = clipped_sums(module, trained, of_patients, patients, self.options.clip, self.options.microbatch)
        self._visits = batch["seed"].sum() if batch else torch.zeros((), dtype=torch.int64)

    def write_gradients(self, trainer: Trainer, trained: Mapping[str, nn.Parameter]) -> None:
        """Write the noised mean gradient of a step: noise is added once, before ranks are summed.

        The denominator is the expected number of patients; how many there were is nobody's business.
        """
        assert self.secret is not None
        step, is_first = trainer.global_step, trainer.global_rank == 0
        scale = self.noise_multiplier * self.options.clip
        if self.canaries is not None and is_first:
            self.canaries.join(self._sums, step, self.rate, self.options.clip)
        batch = self._digest_of_batch(trainer)
        for name, parameter in trained.items():
            total = self._sums[name]
            if is_first and scale:
                total = total + scale * self.secret.normal(total, "noise", name, step, batch)
            total = trainer.strategy.reduce(total, reduce_op="sum")
            if self.canaries is not None and is_first:
                self.canaries.look(name, total)
            parameter.grad = (total / (self.rate * self.patients)).to(parameter.dtype)
        self._sums = {}

    def _digest_of_batch(self, trainer: Trainer) -> str:
        """Return what noise belongs to, visits and gradients: no other gradients are ever given away with it."""
        visits = trainer.strategy.reduce(self._visits.to(trainer.strategy.root_device), reduce_op="sum")
        parts = [
            torch.stack([g.sum(dtype=torch.float64), g.square().sum(dtype=torch.float64)]) for g in self._sums.values()
        ]
        gradients = trainer.strategy.reduce(torch.stack(parts), reduce_op="sum")
        return f"{int(visits)} {hashlib.sha256(gradients.cpu().numpy().tobytes()).hexdigest()}"

    # What was spent

    def guarantee(self, steps: int) -> Guarantee:
        """Return the bound after so many steps."""
        o = self.options
        taken = Steps(steps, self.rate, self.noise_multiplier)
        planned = max(self._planned, steps)
        return Guarantee.of(taken, o.delta, o.clip, self.patients, o.draws, o.accountant, self._unit, planned)

    def load(self, trainer: Trainer, card: Card, step: int) -> None:
        """See that a checkpoint has spent what it says, and go on with the key of its run.

        Args:
            trainer: The trainer.
            card: Record of the checkpoint.
            step: Optimizer steps that its loops count.

        Raises:
            CheckpointError: If it claims less than its steps cost, or was trained without a bound.
            GuaranteeError: If the key is gone.
        """
        if card.privacy is None:
            raise CheckpointError(
                "The checkpoint was trained without `model.privacy`: nothing that is done now gives its patients a "
                "bound. Start a new run."
            )
        Guarantee.from_dict(card.privacy).check(step)
        if not self._is_given:
            path, log_dir = Path(str(trainer.ckpt_path)), trainer.log_dir
            places = [Path(log_dir)] if log_dir is not None else []  # a requeued run's checkpoint lies elsewhere
            places += [find_run(path) or path.parent]
            found = next((place / SECRET for place in places if (place / SECRET).is_file()), places[-1] / SECRET)
            self._take_key(trainer, read_key(found))
            self._keys.append(found)

    def end(self, trainer: Trainer) -> None:
        """Write what was spent, and forget the key of a run that has ended: who has it subtracts the noise."""
        log_dir = trainer.log_dir  # asks all processes, so all must ask
        if not trainer.is_global_zero:
            return
        found = self.guarantee(trainer.global_step)
        log.info("Guarantee: %s", found)
        canaries = self.canaries.result(self.options.delta) if self.canaries is not None else None
        if canaries is not None:
            log.info("Canaries: %s", canaries)
        if log_dir is not None:
            about = {"guarantee": found.to_dict(), **({"canaries": canaries.to_dict()} if canaries is not None else {})}
            write_json(Path(log_dir) / PRIVACY, about)
        if not trainer.received_sigterm:  # one that was told to stop goes on elsewhere
            for key in self._keys:
                key.unlink(missing_ok=True)

    # Parts

    def _refuse(self, trainer: Trainer, data: Any, mitigations: list[Any]) -> None:
        """Refuse what no bound covers."""
        if not hasattr(data, "take_patients"):
            raise GuaranteeError(
                f"Private training takes patients by coins, which {type(data).__name__} cannot do. Use one of "
                "memcontrol's data modules, or write yours on `memcontrol.data.base.CaptionedImageDataModule`."
            )
        if type(trainer.strategy).__name__ not in STRATEGIES:
            raise GuaranteeError(
                f"Private training knows the gradient of each patient over all that is trained; "
                f"{type(trainer.strategy).__name__} divides it. Set `trainer.strategy` to `auto` or `ddp`."
            )
        if str(trainer.precision) not in PRECISIONS:
            raise GuaranteeError(
                f"Argument `trainer.precision` is {trainer.precision}, whose scaler leaves steps out by what it sees "
                f"in gradients. Private training takes one of {', '.join(PRECISIONS)}."
            )
        if trainer.accumulate_grad_batches != 1:
            raise GuaranteeError(
                f"Argument `trainer.accumulate_grad_batches` is {trainer.accumulate_grad_batches}, but noise is "
                "added once for each batch. Raise `data.batch_size` (patients in a step): `model.privacy.microbatch` "
                "bounds the memory."
            )
        _refuse_data(data)
        if getattr(trainer.lightning_module, "ambient", None) is not None:
            raise GuaranteeError(
                "Argument `model.ambient` fixes the noise of an image by its row, which changes where another "
                "patient is left out. Leave it out of private training."
            )
        for mitigation in mitigations:
            if not mitigation.is_per_sample:
                raise GuaranteeError(
                    f"Mitigation {type(mitigation).__name__} changes what one patient adds by what others do, or adds "
                    "something that is not clipped, which the bound does not cover. Leave it out."
                )
        for callback in trainer.callbacks:  # type: ignore[attr-defined]
            seen = getattr(callback, "seen_of_training", "")
            if seen:
                raise GuaranteeError(
                    f"{type(callback).__name__} computes {seen} from training patients, which the bound does not "
                    "cover: what is logged, or chosen by it, would give them away. Leave these out (an audit "
                    "measures them afterwards, for yourself)."
                )

    def _noise(self, trainer: Trainer) -> float:
        options = self.options
        if options.noise_multiplier is not None:
            return options.noise_multiplier
        assert options.epsilon is not None
        return noise_multiplier_for(options.epsilon, options.delta, trainer.max_steps, self.rate, options.accountant)

    def _take_key(self, trainer: Trainer, key: bytes) -> None:
        """Draw all random numbers from a key, the first process's in all of them."""
        shared: bytes = trainer.strategy.broadcast(key)
        self.secret = Secret(shared, self._context)

    def _streams(self, *parts: int | str) -> np.random.Generator:
        assert self.secret is not None
        return self.secret.generator(*parts)


def _refuse_dropout(module: Any) -> None:
    """Refuse dropout: what is dropped of a patient depends on who else is in the batch, and on a known seed."""
    active = [name for name, part in module.unet.named_modules() if isinstance(part, nn.Dropout) and part.p > 0]
    options = config_to_plain(module.adapter) or {}
    said = [name for name, value in options.items() if name.endswith("dropout") and value]
    if active or said:
        where = f"`{said[0]}` of `model.adapter`" if said else f"the layer `{active[0]}` of the base"
        raise GuaranteeError(
            f"Private training has no dropout, but {where} is above 0: what is dropped of one patient depends on who "
            "else is in the batch, so that one patient changes more than `model.privacy.clip` says. Set it to 0."
        )


def _refuse_data(data: Any) -> None:
    """Refuse options by which one patient changes what is trained on of others."""
    if data.num_deep and not data.is_range_given:
        raise GuaranteeError(
            f"{data.num_deep} images are deeper than 8 bits, and what is black and white in all of them follows from "
            "the darkest and brightest one. Give `data.value_range` (such as 0 and 4095), which no patient changes."
        )
    changed = {
        "data.data_fraction": data.data_fraction < 1,
        "data.max_train_images": data.max_train_images is not None,
        "data.memorization": data.memorization.num_images > 0 and data.memorization.repeats > 1,
    }
    for name, is_on in changed.items():
        if is_on:
            raise GuaranteeError(
                f"Argument `{name}` chooses rows by their number, so that one patient changes which rows of others are "
                "used, or how often. Private training takes all rows of the training split once: leave it out "
                "(`data.memorization.num_images: 0`)."
            )


def _refuse_two_ids(table: Any) -> None:
    """Refuse images that two patients hold: they may be one person, whom the bound counts twice."""
    holders = table.groupby("content")["subject_id"].nunique()
    shared = table[table["content"].isin(holders[holders > 1].index)]
    if len(shared):
        raise GuaranteeError(
            f"{len(shared)} training rows hold an image that another patient holds too, such as "
            f"{', '.join(map(str, shared['path'].head(2)))}. If they are one person under two ids, the bound counts "
            "that person twice. Give them one id, or leave such rows out (`memcontrol init` finds near copies as well)."
        )
