"""The LightningModule: a U-Net under a masked adapter, and the loss it is trained with."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any, Final, Literal

import torch
from lightning.pytorch.trainer.states import TrainerFn
from peft.config import PeftConfig
from torch import Tensor, nn

from memcontrol.adapters import AdaptedUNet, LayoutName, adapt, resolve_mask
from memcontrol.adapters.configs import config_from_plain
from memcontrol.adapters.slots import DEFAULT_LAYOUT, Layout
from memcontrol.denoising import Denoising
from memcontrol.diffusion.bases import build_skeleton
from memcontrol.diffusion.cached_base import is_cached, load_base
from memcontrol.diffusion.codecs import LatentCodec
from memcontrol.diffusion.components import Components, Pipeline, drawn_size
from memcontrol.diffusion.losses import min_snr_weights
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.diffusion.texts import TextCodec
from memcontrol.diffusion.timesteps import TimestepOptions
from memcontrol.divergence import check_checkpoint, diverged
from memcontrol.errors import CheckpointError, MemControlError
from memcontrol.files.card import CARD_KEY, Card, check_fits
from memcontrol.files.digests import fingerprint
from memcontrol.masks import Mask, MaskSpec, by_slot
from memcontrol.mitigation import Mitigation
from memcontrol.module_card import card_of
from memcontrol.optimizers import (
    OptimizerOptions,
    apply_options,
    make_optimizer,
    make_schedule,
    num_steps,
    options_of,
)
from memcontrol.privacy import PrivacyOptions, PrivateTraining
from memcontrol.ranges import check_ranges
from memcontrol.recipe import RECIPE_KEY, check_recipe, recipe_of
from memcontrol.seeds import derive_seed
from memcontrol.sizes import Size
from memcontrol.types import Batch

__all__ = ["MemControlModule"]

log = logging.getLogger(__name__)

MITIGATIONS_KEY: Final = "memcontrol_mitigations"
"""Where a checkpoint holds the states of mitigations, by class: a resumed run may have others."""
LOST_BATCHES = 10
"""Batches in a row that a scaler of half precision may lose to overflow before a run counts as diverged."""


RANGES: Final = {
    "snr_gamma": "(0, inf)",
    "noise_offset": "[0, inf)",
    "input_perturbation": "[0, inf)",
    "ambient": "(0, 1)",
    "caption_dropout": "[0, 1]",
    "eval_draws": "[0, inf)",
    "scale": "[0, 1]",
    "encode_batch_size": "[1, inf)",
    "seed": "[0, 4294967295]",
}


class MemControlModule(Denoising):
    """Fine-tunes a masked, adapted U-Net to predict noise.

    Args:
        base: Base model: `embedded`, `sd15` (configs only), a diffusers folder, a `.safetensors` file, or a hub id.
        adapter: PEFT config of the method, or null to run the base alone.
        slots: Slot layout, see `memcontrol.adapters.slots`.
        mask: Which slots are adapted: `all`, `none`, a list of 0 and 1, `bits:0110...`, a YAML file, or slot
            names with globs.
        optimizer: Optimizer, learning rate and schedule.
        timesteps: Which timesteps are trained, and how often.
        snr_gamma: Bound of the min-SNR weight of the loss, or null for no weight.
        noise_offset: See `memcontrol.diffusion.noising.noise_latents`.
        input_perturbation: See `memcontrol.diffusion.noising.noise_latents`.
        ambient: Share of the schedule, in (0, 1), from which on training sees one fixed noisy version of each image (of
            each of its views, where there are several) in its place, or null; see `memcontrol.diffusion.ambient`.
        caption_dropout: Share of captions replaced by the empty one, in [0, 1].
        gradient_checkpointing: Whether to save memory by computing activations twice.
        eval_draws: Noise and timestep pairs per held-out image; fixed, so that losses compare. With 0, no held-out
            loss is computed.
        encode_batch_size: Images or captions encoded at once when the cache is filled.
        sampling: How images are drawn.
        scale: How far from the base (0) to what was trained (1) the model draws and is scored, in [0, 1]: a model that
            has gone half of the way memorizes less. It changes nothing of training, and the held-out loss is that of 1.
        mitigations: What is done against memorization in training, see `memcontrol.mitigation`.
        privacy: Bound on what any attack can learn of a patient, or null for none; see `memcontrol.privacy`.
        random_init: Whether the base is built from its configs with random weights.
        truncation_side: Where captions longer than the text encoder reads are cut: `right` as in diffusers, or `left`
            to keep their end, where a report says what was found.
        seed: Seed of everything random in training.

    Raises:
        MemControlError: If a number is out of range.
    """

    def __init__(
        self,
        base: str = "embedded",
        adapter: PeftConfig | None = None,
        slots: LayoutName = DEFAULT_LAYOUT,
        mask: MaskSpec = "all",
        optimizer: OptimizerOptions = OptimizerOptions(),  # noqa: B008 - frozen
        timesteps: TimestepOptions = TimestepOptions(),  # noqa: B008 - frozen
        snr_gamma: float | None = None,
        noise_offset: float = 0.0,
        input_perturbation: float = 0.0,
        ambient: float | None = None,
        caption_dropout: float = 0.1,
        gradient_checkpointing: bool = False,
        eval_draws: int = 4,
        encode_batch_size: int = 32,
        sampling: SamplingOptions = SamplingOptions(),  # noqa: B008 - frozen
        scale: float = 1.0,
        mitigations: list[Mitigation] | None = None,
        privacy: PrivacyOptions | None = None,
        random_init: bool = False,
        truncation_side: Literal["right", "left"] = "right",
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.adapter = config_from_plain(adapter) if isinstance(adapter, dict) else adapter
        self.save_hyperparameters(ignore=["adapter", "mitigations", "optimizer", "privacy", "sampling", "timesteps"])
        self.base = base
        self.slots = slots
        self.mask_spec = mask
        self.optimizer_options = optimizer
        self.timesteps = timesteps
        self.snr_gamma = snr_gamma
        self.noise_offset = noise_offset
        self.input_perturbation = input_perturbation
        self.ambient = ambient
        self.caption_dropout = caption_dropout
        self.gradient_checkpointing = gradient_checkpointing
        self.eval_draws = eval_draws
        self.encode_batch_size = encode_batch_size
        self.sampling = sampling
        self.scale = scale
        self.mitigations = mitigations or []
        self.privacy = PrivateTraining(privacy) if privacy is not None else None
        self.random_init = random_init
        self.truncation_side = truncation_side
        self.seed = seed
        self.image_size: Size = 0
        self.is_averaged = False
        """Whether checkpoints hold an average of the weights; the callback that averages says so."""
        self.strict_loading = False
        check_ranges(MemControlError, "model", self, RANGES)
        if ambient is not None and (noise_offset or input_perturbation):
            raise MemControlError(
                f"Argument `model.ambient` is {ambient}, which replaces the noise of training, so that "
                f"`model.noise_offset` ({noise_offset}) and `model.input_perturbation` ({input_perturbation}) would "
                "hold below it alone. Leave one or the other out."
            )
        self._lost_batches = 0
        self._is_resumed = False
        self._adapted: AdaptedUNet | None = None

    # Parts

    def check(self, allow_empty: bool = True) -> AdaptedUNet:
        """Adapt the U-Net on the `meta` device: every error of base, slots, mask and adapter, at no cost.

        Args:
            allow_empty: Whether a mask that frees nothing is fine.

        Returns:
            The adapted skeleton.
        """
        unet = build_skeleton(self.base)
        layout, mask = resolve_mask(unet, self.slots, self.mask_spec)
        self._lr_factors(layout)
        adapted = adapt(unet, self.adapter, layout, mask, allow_empty=allow_empty)
        self._check_mitigations(unet)
        return adapted

    def configure_model(self) -> None:
        """Load the base and put the adapter in; does nothing the second time."""
        if self._adapted is not None:
            return
        parts = load_base(self.base, self.random_init, self.seed)
        parts.truncate(self.truncation_side)
        layout, mask = resolve_mask(parts.unet, self.slots, self.mask_spec)
        self.base_fingerprint = fingerprint(parts.unet)
        self.num_base = sum(p.numel() for p in parts.unet.parameters())
        """Number of the base U-Net's parameters."""
        self._adapted = adapt(parts.unet, self.adapter, layout, mask, self.seed, allow_empty=not self._trains)
        if self.gradient_checkpointing:
            parts.unet.enable_gradient_checkpointing()
        self.unet = parts.unet
        self.vae = parts.vae
        self.text_encoder = parts.text_encoder
        self.text_encoder_2 = parts.text_encoder_2
        self.placeholder = nn.Parameter(torch.zeros(()), requires_grad=not self._adapted.trainable())
        self._parts = [parts]
        self.latent_codec = LatentCodec(parts.vae)
        self.text_codec = TextCodec.of(parts)
        self.image_size = self.image_size or drawn_size(parts.unet, self.latent_codec.factor)

    @property
    def _trains(self) -> bool:
        fitting = getattr(self, "_trainer", None) is not None and self.trainer.state.fn == TrainerFn.FITTING
        return self.adapter is not None and fitting

    @property
    def adapted(self) -> AdaptedUNet:
        """The U-Net with its adapter."""
        assert self._adapted is not None, "configure_model has not been called"
        return self._adapted

    @property
    def parts(self) -> Components:
        """The parts of the pipeline; the U-Net among them is the adapted one."""
        found: Components = self._parts[0]
        return found

    @property
    def mask(self) -> Mask:
        """Which slots are on."""
        return self.adapted.mask

    def pipeline(self) -> Pipeline:
        """Return a diffusers pipeline that draws with the present weights."""
        return self.parts.pipeline()

    def train(self, mode: bool = True) -> MemControlModule:
        """Set the mode of the U-Net; the frozen ends stay in eval mode."""
        super().train(mode)
        for part in ("vae", "text_encoder", "text_encoder_2"):
            if getattr(self, part, None) is not None:
                getattr(self, part).eval()
        return self

    # Lightning's hooks

    def setup(self, stage: str) -> None:
        """Learn the image size from the data, and find errors of the config before anything is loaded."""
        transform = getattr(getattr(self.trainer, "datamodule", None), "transform", None)
        if self.ambient is not None and not getattr(transform, "is_cacheable", True):
            raise MemControlError(
                f"Argument `model.ambient` is {self.ambient}, but each visit shows a fresh view of an image, and so no "
                "noisy version of it is fixed. Give `data.transform.crop_variants` and "
                "`data.transform.augment.variants` above 0, or leave `model.ambient` out."
            )
        self.image_size = getattr(transform, "size", self.image_size)
        if self._adapted is None and not is_cached(self.base, self.random_init, self.seed):
            self.check(allow_empty=not self._trains)
        if self.privacy is not None and stage == "fit":
            self.privacy.prepare(self.trainer, self.mitigations)
        elif stage == "fit" and hasattr(getattr(self.trainer, "datamodule", None), "take_rows"):
            self.trainer.datamodule.take_rows()  # type: ignore[attr-defined]

    def on_fit_start(self) -> None:
        """Say what is trained, and fill the cache."""
        self._check_mitigations(self.unet)
        self._report()
        if any(m.needs_text_encoder for m in self.mitigations):
            log.info("A mitigation changes captions, so the text encoder runs in each step")
        self._encode_splits("train", "validate")
        self.null_states = self.text_codec.null()

    def on_validation_start(self) -> None:
        """Fill the cache for `validate`."""
        if self.trainer.state.fn != TrainerFn.FITTING:
            self._encode_splits("validate")

    def on_test_start(self) -> None:
        """Fill the cache for `test`."""
        self._encode_splits("test")

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the weighted loss of a batch."""
        torch.manual_seed(derive_seed(self.seed, "step", self.current_epoch, batch_idx, self.trainer.global_rank))
        if self.privacy is not None:
            trained = self.adapted.trainable()
            for mitigation in self.mitigations:  # also where no patient is taken, so that nothing tells whether one was
                mitigation.prepare(self.heldout_profile, self.global_step)
            self.privacy.sum_gradients(self.unet, trained, lambda part: self._losses(part)[0], batch)
            return torch.zeros((), device=self.device)  # the loss of training patients is not noised, and not shown
        losses, kept = self._losses(batch)
        weighted = losses * batch["weight"].to(losses) if "weight" in batch else losses
        # The mean over what is kept by all ranks, whose gradients are averaged; 0 where nothing is.
        every = self.trainer.strategy.reduce(kept.sum(), reduce_op="sum")
        loss = self.trainer.world_size * weighted.sum() / every.clamp_min(1)
        for mitigation in self.mitigations:
            added = mitigation.added(self, batch["seed"])
            loss = loss if added is None else loss + added
        self._see_that_it_trains(loss.detach())
        loss = loss + (0 * self.placeholder if self.placeholder.requires_grad else 0)
        self.log("train/loss", loss, prog_bar=True, batch_size=len(losses), sync_dist=True)
        return loss

    def backward(self, loss: Tensor, *args: Any, **kwargs: Any) -> None:
        """Differentiate the loss; in private training, take the noised gradients of patients instead."""
        if self.privacy is None:
            super().backward(loss, *args, **kwargs)
        else:
            self.privacy.write_gradients(self.trainer, self.adapted.trainable())

    @property
    def has_last_weights(self) -> bool:
        """Whether the weights are those that a run of so many steps ends with: mitigations may change the last ones."""
        return self.trainer.global_step >= self.trainer.max_steps > 0 or not self._last_changed_by

    @property
    def _last_changed_by(self) -> list[str]:
        return [type(m).__name__ for m in self.mitigations if m.changes_last_weights]

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the weighted error of each sample, 0 where it does not count, and whether it counts."""
        errors, t, kept = self.training_errors(batch)
        if self.snr_gamma is not None:
            errors = errors * min_snr_weights(self.parts.scheduler, t, self.snr_gamma)
        return errors * kept, kept

    def _see_that_it_trains(self, loss: Tensor) -> None:
        """End a run whose loss is no number any more; a scaler of half precision may lose a few batches to overflow."""
        finite = bool(self.trainer.strategy.reduce_boolean_decision(bool(loss.isfinite()), all=True))
        self._lost_batches = 0 if finite else self._lost_batches + 1
        has_scaler = getattr(self.trainer.precision_plugin, "scaler", None) is not None
        if self._lost_batches > (LOST_BATCHES if has_scaler else 0):
            raise diverged(self.trainer, f"the loss is {float(loss)}")

    def on_train_start(self) -> None:
        """Train on at the rates of the config: a checkpoint brings those that it was trained with."""
        if self._last_changed_by and (steps := self.trainer.estimated_stepping_batches) < self.trainer.max_steps:
            raise MemControlError(
                f"Mitigation {self._last_changed_by[0]} changes the weights after step {self.trainer.max_steps} "
                f"(`trainer.max_steps`), but `trainer.max_epochs` ({self.trainer.max_epochs}) ends the training after "
                f"{steps:.0f}. Leave `trainer.max_epochs` out, or lower `trainer.max_steps`."
            )
        for mitigation in self.mitigations:
            mitigation.begin(self)
        if self.privacy is not None:
            self.privacy.begin(self.trainer, self.adapted.trainable())
        if self._is_resumed:
            for optimizer, schedule in zip(self.trainer.optimizers, self.trainer.lr_scheduler_configs, strict=False):
                apply_options(optimizer, schedule.scheduler, self._fresh_groups)

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Step; after the last one, mitigations change what was trained, before any callback sees it."""
        super().optimizer_step(*args, **kwargs)
        if self.trainer.global_step + 1 >= self.trainer.max_steps > 0:
            for mitigation in self.mitigations:
                mitigation.finish(self.unet)

    def on_train_end(self) -> None:
        """Say where a training ended before mitigations could change its last weights."""
        if not self.has_last_weights:
            log.warning(
                "Training ended at step %d of %d, before %s changed the weights: what lies in the run folder is not "
                "protected by it. Go on with `--ckpt_path`, or train again with as many steps as there were.",
                self.trainer.global_step,
                self.trainer.max_steps,
                self._last_changed_by[0],
            )

    def on_validation_epoch_end(self) -> None:
        """Log what was spent so far."""
        if self.privacy is not None and self._trains and not self.trainer.sanity_checking:
            spent = self.privacy.guarantee(self.global_step).epsilon
            self.log("privacy/epsilon", float("inf") if spent is None else spent, rank_zero_only=True)

    def on_fit_end(self) -> None:
        """Say what was spent."""
        if self.privacy is not None:
            self.privacy.end(self.trainer)

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Validate the last weights too: an epoch that ends within an accumulation shifts steps against batches."""
        if self.trainer.global_step >= self.trainer.max_steps > 0 and self.trainer.check_val_every_n_epoch is None:
            self.trainer.val_check_batch = 1

    def validation_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor] | None:
        """Log the held-out denoising loss and return it per sample; None where none is computed."""
        return self._eval_step(batch, "val/loss")

    def test_step(self, batch: Batch, batch_idx: int) -> dict[str, Tensor] | None:
        """Log the held-out denoising loss and return it per sample; None where none is computed."""
        return self._eval_step(batch, "test/loss")

    def configure_optimizers(self) -> Any:
        """Return AdamW over what is trained, with a schedule per step."""
        scale = self.trainer.accumulate_grad_batches * self.trainer.world_size * self._batch_size()
        trainable = self.adapted.trainable() or {"placeholder": self.placeholder}
        slots = {name: self.adapted.layout.slot_of(name) for name in trainable}
        by_name = self._lr_factors(self.adapted.layout)
        factors = {name: by_name.get(slot.name, 1.0) for name, slot in slots.items() if slot is not None}
        optimizer = make_optimizer(trainable, self.adapted.vectors(), self.optimizer_options, scale, factors)
        self._fresh_groups = options_of(optimizer)
        steps = num_steps(self.trainer, self.optimizer_options.schedule)
        schedule = make_schedule(optimizer, self.optimizer_options, steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep what is trained, not the base, and say what it belongs to."""
        trained = {f"unet.{name}" for name in self.adapted.trainable()}
        checkpoint["state_dict"] = {k: v for k, v in checkpoint["state_dict"].items() if k in trained}
        checkpoint[CARD_KEY] = self.card().to_dict()
        checkpoint[RECIPE_KEY] = recipe_of(self, self.trainer)
        checkpoint[MITIGATIONS_KEY] = {type(m).__name__: m.state_dict() for m in self.mitigations}
        check_checkpoint(self.trainer, checkpoint)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse weights that were trained under another mask or on another base.

        Raises:
            CheckpointError: If they do not fit.
        """
        self.configure_model()
        check_fits(checkpoint, self.card(), {f"unet.{name}" for name in self.adapted.trainable()})
        if self.trainer.state.fn == TrainerFn.FITTING:
            if checkpoint.get("optimizer_states") == []:
                raise CheckpointError(
                    "The checkpoint holds what was trained and no optimizer (it is a point of a front, or of a trial "
                    "that has ended), so training cannot go on from it. Give `--ckpt_path` one of the run's "
                    "checkpoints/, or train anew with the point's overlay."
                )
            self._is_resumed = True
            theirs = Card.from_dict(checkpoint[CARD_KEY], Path("The checkpoint"))
            if self.privacy is not None:
                self.privacy.load(self.trainer, theirs, int(checkpoint["global_step"]))
            elif theirs.privacy is not None:
                raise CheckpointError(
                    "The checkpoint was trained with a bound on what it gives away (`model.privacy`), which a run "
                    "without would end. Give the same options again (config.yaml in the run folder)."
                )
            if RECIPE_KEY in checkpoint:
                check_recipe(checkpoint[RECIPE_KEY], recipe_of(self, self.trainer))
            states = checkpoint.get(MITIGATIONS_KEY, {})
            for mitigation in self.mitigations:
                mitigation.load_state_dict(states.get(type(mitigation).__name__, {}))

    def card(self) -> Card:
        """Return what a checkpoint of this module belongs to."""
        return card_of(self)

    def _check_mitigations(self, unet: nn.Module) -> None:
        """Refuse mitigations that cannot work, or that change the last weights where others are kept, or none is last.

        Args:
            unet: The adapted U-Net, or its skeleton.
        """
        if not self._trains:
            return
        for mitigation in self.mitigations:
            mitigation.check(unet)
        found = self._last_changed_by
        if found and (self.trainer.max_steps < 1 or self.is_averaged):
            raise MemControlError(
                f"Mitigation {found[0]} changes the weights after the last step, which needs `trainer.max_steps` "
                f"(got {self.trainer.max_steps}) and no EMACallback, whose average would be kept in their place."
            )

    def _lr_factors(self, layout: Layout) -> dict[str, float]:
        """Return what the learning rate of each slot is multiplied by, where it is not 1."""
        options = self.optimizer_options
        return by_slot(options.lr_factors, layout.name, layout.names, "model.optimizer.lr_factors")

    def _eval_step(self, batch: Batch, name: str) -> dict[str, Tensor] | None:
        if not self.eval_draws:
            return None
        errors = self.heldout_errors(batch)
        if not self.trainer.strategy.reduce_boolean_decision(bool(errors.isfinite().all()), all=True):
            raise diverged(self.trainer, "the held-out loss is not finite")
        self.log(name, errors.mean(), prog_bar=True, batch_size=len(errors), sync_dist=True)
        return {"index": batch["index"], "errors": errors}

    def _encode_splits(self, *splits: str) -> None:
        encode = getattr(getattr(self.trainer, "datamodule", None), "encode", None)
        if encode is not None:
            encode(splits, self.latent_codec, self.text_codec, self.encode_batch_size)

    def _batch_size(self) -> int:
        return int(getattr(getattr(self.trainer, "datamodule", None), "batch_size", 1))

    def _report(self) -> None:
        count = sum(p.numel() for p in self.adapted.trainable().values())
        log.info(
            "Training %s of %s parameters (%.4f %%) of the U-Net; %d of %d slots of `%s` are on: %s",
            f"{count:,}",
            f"{self.num_base:,}",
            100 * count / self.num_base,
            sum(self.mask.bits),
            len(self.mask.bits),
            self.mask.layout,
            ", ".join(self.mask.on) or "none",
        )
