"""The frozen ends of the model: images to latents and back, captions to states."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property

import torch
from diffusers import AutoencoderTiny
from torch import Tensor
from tqdm import tqdm
from transformers import CLIPTextModel, CLIPTokenizer

from memcontrol.diffusion.components import Vae
from memcontrol.files.digests import weights_digest

__all__ = ["LatentCodec", "TextCodec", "sample_latents"]

log = logging.getLogger("memcontrol")


class LatentCodec:
    """An auto-encoder with its latents in the U-Net's scale.

    Args:
        vae: `AutoencoderKL` (mean and standard deviation) or `AutoencoderTiny` (mean only; its latents are
            already scaled).
    """

    def __init__(self, vae: Vae) -> None:
        self.vae = vae

    @cached_property
    def digest(self) -> str:
        """Digest of weights and scale."""
        return weights_digest(self.vae, scale=self.scale, kind=type(self.vae).__name__)

    @property
    def scale(self) -> float:
        """Factor from the auto-encoder's latents to the U-Net's."""
        return float(self.vae.config["scaling_factor"])

    @property
    def factor(self) -> int:
        """Pixels per latent, along one side."""
        return int(2 ** (len(self.vae.config["block_out_channels"]) - 1))

    def record_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return `(1 or 2, C, h, w)`."""
        moments = 1 if isinstance(self.vae, AutoencoderTiny) else 2
        channels = int(self.vae.config["latent_channels"])
        return (moments, channels, height // self.factor, width // self.factor)

    @torch.no_grad()
    def encode(self, pixels: Tensor) -> Tensor:
        """Encode images.

        Args:
            pixels: Images with shape `(B, 3, H, W)`, values in [-1, 1].

        Returns:
            Mean, and standard deviation where there is one, with shape `(B, 1 or 2, C, h, w)`.
        """
        pixels = pixels.to(self.vae.device, self.vae.dtype)
        if isinstance(self.vae, AutoencoderTiny):
            latents: Tensor = self.vae.encode(pixels).latents
            return self.scale * latents[:, None]
        posterior = self.vae.encode(pixels).latent_dist
        return self.scale * torch.stack([posterior.mean, posterior.std], dim=1)


def sample_latents(moments: Tensor, noise: Tensor) -> Tensor:
    """Draw from the posterior.

    Args:
        moments: Mean (and standard deviation), with shape `(B, 1 or 2, C, h, w)`.
        noise: Standard normal, with shape `(B, C, h, w)`.

    Returns:
        Latents `mean + std * noise`, with shape `(B, C, h, w)`.
    """
    mean = moments[:, 0]
    return mean if moments.shape[1] == 1 else mean + moments[:, 1] * noise


class TextCodec:
    """Tokenizer and text encoder.

    Args:
        tokenizer: CLIP's tokenizer, or one of its kind.
        text_encoder: CLIP's text model.
    """

    def __init__(self, tokenizer: CLIPTokenizer, text_encoder: CLIPTextModel) -> None:
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder

    @cached_property
    def digest(self) -> str:
        """Digest of weights, length and vocabulary."""
        words = sorted(self.tokenizer.get_vocab().items())
        side = {} if self.tokenizer.truncation_side == "right" else {"truncation_side": self.tokenizer.truncation_side}
        return weights_digest(self.text_encoder, words=words, length=self.record_shape[0], **side)

    @property
    def record_shape(self) -> tuple[int, int]:
        """`(L, D)`: tokens and width."""
        config = self.text_encoder.config
        length = min(self.tokenizer.model_max_length, config.max_position_embeddings)
        return int(length), int(config.hidden_size)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Return token ids with shape `(B, L)`; longer texts are cut at the tokenizer's side, shorter ones padded."""
        tokens = self.tokenizer(
            texts,
            padding="max_length",
            max_length=self.record_shape[0],
            truncation=True,
            return_tensors="pt",
        )
        ids: Tensor = tokens.input_ids
        return ids

    def edited(self, texts: list[str], edit: Callable[[int, list[int]], list[int]]) -> Tensor:
        """Return token ids with shape `(B, L)` of captions whose tokens, without marks, are changed first.

        Args:
            texts: Captions.
            edit: Maps the number of a caption and its tokens to others; what is too long is cut.
        """
        length = self.record_shape[0]
        start, end = self.tokenizer.bos_token_id, self.tokenizer.eos_token_id
        rows = []
        for number, text in enumerate(texts):
            content = self._cut(self.tokenizer(text, add_special_tokens=False).input_ids, length - 2)
            ids = [start, *self._cut(edit(number, content), length - 2), end]
            rows.append(ids + [self.tokenizer.pad_token_id] * (length - len(ids)))
        return torch.tensor(rows)

    def say_what_is_cut(self, texts: list[str]) -> None:
        """Say how many captions are longer than what the encoder reads, and how many it cannot tell from others."""
        room = self.record_shape[0] - 2
        longer = [text for text in dict.fromkeys(texts) if len(text) > room]  # a token is a character at least
        ids: list[list[int]] = []
        for start in tqdm(range(0, len(longer), 4096), desc="measuring captions", unit="batch", delay=2):
            ids += self.tokenizer(longer[start : start + 4096], add_special_tokens=False).input_ids
        cut = {
            text: tuple(self._cut(found, room)) for text, found in zip(longer, ids, strict=True) if len(found) > room
        }
        if not cut:
            return
        alike = len(cut) - len(set(cut.values()))
        log.warning(
            "%d of %d captions have more than the %d tokens that the text encoder reads; what is left of %d of them is "
            "the same as of another. The %s is cut off: `model.truncation_side` says which side is.",
            sum(text in cut for text in texts),
            len(texts),
            room,
            alike,
            "end" if self.tokenizer.truncation_side == "right" else "beginning",
        )

    def _cut(self, ids: list[int], room: int) -> list[int]:
        return ids[:room] if self.tokenizer.truncation_side == "right" else ids[-room:]

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Tensor:
        """Encode captions to states with shape `(B, L, D)`."""
        return self.encode_tokens(self.tokenize(texts))

    @torch.no_grad()
    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Encode token ids with shape `(B, L)` to states with shape `(B, L, D)`."""
        states: Tensor = self.text_encoder(ids.to(self.text_encoder.device)).last_hidden_state
        return states
