"""What a module is trained and validated by: noise in, the errors of its prediction out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.utils.data import default_collate

from memcontrol.data.splits import take
from memcontrol.described import Described
from memcontrol.diffusion.ambient import ambient
from memcontrol.diffusion.losses import denoising_errors
from memcontrol.diffusion.noising import drop_captions, noise_latents, sample_timesteps
from memcontrol.diffusion.probes import Denoiser
from memcontrol.diffusion.sampling import SamplingOptions, draw_latents
from memcontrol.errors import MemControlError
from memcontrol.seeds import derive_seed
from memcontrol.sizes import Size
from memcontrol.types import Batch

if TYPE_CHECKING:
    from memcontrol.adapters import AdaptedUNet
    from memcontrol.diffusion.codecs import LatentCodec
    from memcontrol.diffusion.components import Components
    from memcontrol.diffusion.texts import TextCodec
    from memcontrol.diffusion.timesteps import TimestepOptions
    from memcontrol.mitigation import Mitigation

__all__ = ["Denoising"]


class Denoising(Described, LightningModule):
    """Errors of a U-Net's predictions on batches of captioned images; all randomness follows from the samples' seeds.

    Options and parts are those of `MemControlModule`, which says what they are.
    """

    unet: nn.Module
    latent_codec: LatentCodec
    text_codec: TextCodec
    null_states: Tensor
    timesteps: TimestepOptions
    mitigations: list[Mitigation]
    seed: int
    image_size: Size
    eval_draws: int
    caption_dropout: float
    noise_offset: float
    input_perturbation: float
    ambient: float | None

    @property
    def parts(self) -> Components:
        """The parts of the pipeline; the U-Net among them is the adapted one."""
        raise NotImplementedError

    @property
    def adapted(self) -> AdaptedUNet:
        """The U-Net with its adapter."""
        raise NotImplementedError

    def moments(self, batch: Batch) -> Tensor:
        """Return latents from the cache, or encode the images of the batch."""
        if "latents" in batch:
            return batch["latents"]
        return self.latent_codec.encode(batch["pixels"])

    def text_states(self, batch: Batch) -> Tensor:
        """Return text states from the cache, or encode the captions of the batch."""
        if "text_states" in batch:
            return batch["text_states"]
        return self.text_codec.encode(batch["text"])

    def training_states(self, batch: Batch, seeds: Tensor) -> Tensor:
        """Return text states after mitigations and caption dropout, with shape `(B, L, D)`."""
        states = self.mitigated_states(batch, seeds)
        for mitigation in self.mitigations:
            states = mitigation.states(states, seeds)
        return drop_captions(states, self.null_states, seeds, self.caption_dropout)

    def mitigated_states(self, batch: Batch, seeds: Tensor) -> Tensor:
        """Return text states, from the cache unless a mitigation changes captions or tokens."""
        if not any(m.needs_text_encoder for m in self.mitigations):
            return self.text_states(batch)
        return self.text_codec.encode_tokens(self.mitigated_tokens(batch["text"], seeds.tolist()))

    def mitigated_tokens(self, texts: list[str], seeds: list[int]) -> Tensor:
        """Return the tokens that the text encoder sees in this step, with shape `(B, L)`."""
        for mitigation in self.mitigations:
            texts = mitigation.captions(texts, seeds)

        def edit(number: int, content: list[int]) -> list[int]:
            for mitigation in self.mitigations:
                content = mitigation.tokens(content, seeds[number], self.text_codec.tokenizer)
            return content

        return self.text_codec.edited(texts, edit)

    def training_errors(self, batch: Batch) -> tuple[Tensor, Tensor, Tensor]:
        """Return error, timestep and whether it counts, of each sample, with shape `(B,)`; lower is better."""
        seeds = torch.tensor([derive_seed(self.seed, seed) for seed in batch["seed"].tolist()])
        t = self.timesteps.sample(seeds, self.num_timesteps)
        moments = self.moments(batch)
        noised = noise_latents(
            self.parts.scheduler,
            moments,
            seeds,
            t,
            self.noise_offset,
            self.input_perturbation,
        )
        if self.ambient is not None:
            noised = ambient(self.parts.scheduler, noised, moments[:, 0], seeds, self._views(batch), self.ambient)
        states = self.training_states(batch, seeds)
        for mitigation in self.mitigations:
            mitigation.prepare(self.heldout_profile, self.global_step)
        prediction = self.unet(noised.x_t, noised.t, states).sample
        errors = denoising_errors(prediction, noised.target)
        known = errors.detach()
        if noised.weights is not None:
            errors = errors * noised.weights
            # an error against a noisy image tells nothing of how well the image itself is known
            known = known.masked_fill(noised.weights < 1, torch.inf)
        kept = torch.ones(len(seeds), dtype=torch.bool, device=prediction.device)
        for mitigation in self.mitigations:
            kept = kept & mitigation.counts(known, noised.t / self.num_timesteps)
        if any(m.needs_noise_norm for m in self.mitigations):
            with torch.no_grad():
                null = self.null_states.to(states).expand_as(states)
                denoiser = Denoiser(lambda x, t, c: self.unet(x, t, c).sample, self.parts.scheduler)
                with_caption = denoiser.as_noise(prediction.detach(), noised.x_t, noised.t)
                gap = with_caption - denoiser.noise(noised.x_t, noised.t, null)
            norms = gap.float().flatten(1).norm(dim=1)
            for mitigation in self.mitigations:
                kept = kept & mitigation.kept(norms)
        return errors, noised.t, kept

    def _views(self, batch: Batch) -> Tensor:
        """Return one seed per view of each image: with one noise for all, views would show what it hides."""
        rows = batch["index"].tolist()
        views = batch["variant"].tolist() if "variant" in batch else [0] * len(rows)
        return torch.tensor(
            [
                derive_seed(self.seed, "image", row, *([view] if view else []))
                for row, view in zip(rows, views, strict=True)
            ]
        )

    def heldout_errors(self, batch: Batch) -> Tensor:
        """Return the error of each sample at fixed noise and timesteps, with shape `(B,)`; lower is better."""
        return self.errors_by_part(batch, self.eval_draws).mean(dim=1)

    @torch.no_grad()
    def errors_by_part(self, batch: Batch, parts: int) -> Tensor:
        """Return the errors of each sample at fixed noise and timesteps, with shape `(B, parts)`.

        The schedule is cut into equal parts with one draw each, so that a few draws cover it.
        """
        moments, states = self.moments(batch), self.text_states(batch)
        errors = []
        for part in range(parts):
            t = sample_timesteps(batch["seed"], self.num_timesteps, part, parts)
            noised = noise_latents(self.parts.scheduler, moments, batch["seed"], t, stream=f"heldout {part}")
            prediction = self.unet(noised.x_t, noised.t, states).sample
            errors.append(denoising_errors(prediction, noised.target))
        return torch.stack(errors, dim=1)

    def drawn_by_base(self, count: int, sampling: SamplingOptions) -> tuple[Tensor, Tensor]:
        """Return states of training captions, `(n, L, D)`, and latents that the base draws for them, `(n, C, h, w)`."""
        dataset = self._split("train")
        rows = take(len(dataset.texts), min(count, len(dataset.texts)), self.seed, "prior")
        texts = [dataset.texts[rows[i % len(rows)]] for i in range(count)]
        seeds = [derive_seed(self.seed, "prior", i) for i in range(count)]
        was_training = self.unet.training
        self.unet.eval()
        try:
            with self.adapted.as_base(), self.trainer.precision_plugin.forward_context():
                drawn = draw_latents(self.parts.pipeline(), texts, seeds, sampling, self.image_size)
                return self.text_codec.encode(texts).cpu(), drawn
        finally:
            self.unet.train(was_training)

    def errors_on(self, latents: Tensor, states: Tensor, seeds: Tensor) -> Tensor:
        """Return the errors of latents at noise and timesteps that seeds decide, with shape `(n,)`."""
        t = self.timesteps.sample(seeds, self.num_timesteps)
        latents, states = self.trainer.precision_plugin.convert_input((latents.to(self.device), states.to(self.device)))
        noised = noise_latents(self.parts.scheduler, latents[:, None], seeds, t)
        states = drop_captions(states, self.null_states, seeds, self.caption_dropout)
        return denoising_errors(self.unet(noised.x_t, noised.t, states).sample, noised.target)

    def heldout_profile(self, images: int, parts: int) -> Tensor:
        """Return the mean error of some validation images in each part of the schedule, with shape `(parts,)`."""
        dataset = self._split("validate")
        rows = take(len(dataset), min(images, len(dataset)), self.seed, "reference")
        batch = self.transfer_batch_to_device(default_collate([dataset[int(row)] for row in rows]), self.device, 0)
        batch = self.trainer.precision_plugin.convert_input(batch)
        return self.errors_by_part(batch, parts).mean(dim=0)

    @property
    def num_timesteps(self) -> int:
        """Length of the noise schedule."""
        return int(self.parts.scheduler.config["num_train_timesteps"])

    def _split(self, name: str) -> Any:
        """Return the images of a split, for a mitigation that looks at them."""
        dataset = getattr(getattr(self.trainer, "datamodule", None), "datasets", {}).get(name)
        if dataset is None:
            raise MemControlError(
                f"A mitigation looks at the split `{name}` (LossFloor and PriorPreservation do), but the trainer has "
                "no data module with one. Train with one of memcontrol's, or leave the mitigation out."
            )
        return dataset
