"""The frozen end of the model that reads captions: tokens to states, whichever text encoders the base has."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from tqdm import tqdm

from memcontrol.files.digests import weights_digest

__all__ = ["TextCodec"]

log = logging.getLogger("memcontrol")


class TextCodec:
    """Tokenizer and text encoders.

    With two encoders (Stable Diffusion XL), the states are those of both side by side, and one more row holds the
    second one's pooled embedding: all that the U-Net is told of a caption is one tensor (see `conditions.take_packed`).

    Args:
        tokenizer: CLIP's tokenizer, or BERT's.
        text_encoder: CLIP's text model, or BERT.
        text_encoder_2: A second one, which reads the same tokens.
        padding: What the second one has for the first one's padding, or None for the same.
    """

    def __init__(
        self, tokenizer: Any, text_encoder: Any, text_encoder_2: Any = None, padding: int | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.text_encoder = text_encoder
        self.text_encoder_2 = text_encoder_2
        self.padding = padding

    @classmethod
    def of(cls, parts: Any) -> TextCodec:
        """Return the codec of a base's parts, or of a pipeline of diffusers."""
        second = getattr(parts, "text_encoder_2", None)
        padding = parts.tokenizer_2.pad_token_id if second is not None else None
        return cls(parts.tokenizer, parts.text_encoder, second, padding)

    @cached_property
    def digest(self) -> str:
        """Digest of weights, length and vocabulary."""
        words = sorted(self.tokenizer.get_vocab().items())
        side = {} if self.tokenizer.truncation_side == "right" else {"truncation_side": self.tokenizer.truncation_side}
        second = {} if self.text_encoder_2 is None else {"second": weights_digest(self.text_encoder_2)}
        return weights_digest(self.text_encoder, words=words, length=self.length, **side, **second)

    @property
    def length(self) -> int:
        """Tokens that the encoders read, marks included."""
        return int(min(self.tokenizer.model_max_length, self.text_encoder.config.max_position_embeddings))

    @property
    def record_shape(self) -> tuple[int, int]:
        """`(L, D)`: rows (tokens, and one for a pooled embedding) and width."""
        width = int(self.text_encoder.config.hidden_size)
        if self.text_encoder_2 is None:
            return self.length, width
        return self.length + 1, width + int(self.text_encoder_2.config.hidden_size)

    def tokenize(self, texts: list[str]) -> Tensor:
        """Return token ids with shape `(B, L)`; longer texts are cut at the tokenizer's side, shorter ones padded."""
        tokens = self.tokenizer(
            texts,
            padding="max_length",
            max_length=self.length,
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
        length = self.length
        start, end = self._marks
        rows = []
        for number, text in enumerate(texts):
            content = self._cut(self.tokenizer(text, add_special_tokens=False).input_ids, length - 2)
            ids = [start, *self._cut(edit(number, content), length - 2), end]
            rows.append(ids + [self.tokenizer.pad_token_id] * (length - len(ids)))
        return torch.tensor(rows)

    def say_what_is_cut(self, texts: list[str]) -> None:
        """Say how many captions are longer than what the encoder reads, and how many it cannot tell from others."""
        room = self.length - 2
        longer = [text for text in dict.fromkeys(texts) if len(text.encode()) > room]  # a token is a byte at least
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

    @property
    def _marks(self) -> tuple[int, int]:
        """Tokens that begin and end a caption."""
        names = ("bos_token_id", "cls_token_id"), ("eos_token_id", "sep_token_id")
        start, end = (next(i for n in both if (i := getattr(self.tokenizer, n, None)) is not None) for both in names)
        return start, end

    @torch.no_grad()
    def encode(self, texts: list[str]) -> Tensor:
        """Encode captions to states with shape `(B, L, D)`, see `record_shape`."""
        return self.encode_tokens(self.tokenize(texts))

    @torch.no_grad()
    def null(self) -> Tensor:
        """Return the states of no caption, with shape `(1, L, D)`: nothing at all, where two encoders are."""
        if self.text_encoder_2 is None:
            return self.encode([""])
        like = next(self.text_encoder.parameters())
        return torch.zeros(1, *self.record_shape, dtype=like.dtype, device=like.device)

    @torch.no_grad()
    def encode_tokens(self, ids: Tensor) -> Tensor:
        """Encode token ids with shape `(B, L)` to states with shape `(B, L, D)`, see `record_shape`."""
        ids = ids.to(self.text_encoder.device)
        if self.text_encoder_2 is None:
            states: Tensor = self.text_encoder(ids).last_hidden_state
            return states
        first = self.text_encoder(ids, output_hidden_states=True).hidden_states[-2]
        second = self.text_encoder_2(self._padded(ids), output_hidden_states=True)
        states = torch.cat([first, second.hidden_states[-2]], dim=-1)
        pooled = pad(second.text_embeds, (0, states.shape[-1] - second.text_embeds.shape[-1]))
        return torch.cat([states, pooled[:, None]], dim=1)

    def _padded(self, ids: Tensor) -> Tensor:
        """Return token ids with the second encoder's padding after the end of each caption."""
        if self.padding is None:
            return ids
        is_padding = (ids == self.tokenizer.pad_token_id).flip(1).long().cumprod(dim=1).flip(1).bool()
        if self.tokenizer.pad_token_id == self._marks[1]:  # the first of them is the end itself
            is_padding[:, 1:] &= is_padding[:, :-1].clone()
        return ids.masked_fill(is_padding, self.padding)
