"""What travels between data, diffusion and the module."""

from __future__ import annotations

from typing import Literal, NotRequired, Protocol, TypedDict

from torch import Tensor

__all__ = ["Batch", "FeatureEncoder", "ImageEncoder", "Side", "TextEncoder"]

Side = Literal["train", "heldout"]
"""`train`: the training split; `heldout`: the split of other patients that is scored (validation or test)."""


class Batch(TypedDict):
    """A batch of captioned images.

    Either `latents` (from the cache) or `pixels` is present, and `text_states` where texts are cached.
    """

    index: Tensor
    """Row numbers in the split's table, with shape `(B,)`."""
    seed: Tensor
    """One seed per sample and draw, with shape `(B,)`; all its randomness follows from it."""
    text: list[str]
    """Captions."""
    variant: NotRequired[Tensor]
    """Number of the view of the image that is kept, with shape `(B,)`; 0 where it is left out."""
    weight: NotRequired[Tensor]
    """Weight of each sample in the loss, in (0, 1], with shape `(B,)`; 1 where it is left out."""
    latents: NotRequired[Tensor]
    """Mean and, for a variational encoder, standard deviation, with shape `(B, 1 or 2, C, h, w)`."""
    pixels: NotRequired[Tensor]
    """Images with shape `(B, 3, H, W)`, values in [-1, 1]."""
    text_states: NotRequired[Tensor]
    """Encoded captions, with shape `(B, L, D)`."""


class ImageEncoder(Protocol):
    """Turns pixels into the parameters of a latent distribution."""

    @property
    def digest(self) -> str:
        """Hex digest of weights and config."""

    def record_shape(self, height: int, width: int) -> tuple[int, ...]:
        """Return `(1 or 2, C, h, w)` for images of this size."""

    def encode(self, pixels: Tensor) -> Tensor:
        """Map `(B, 3, H, W)` in [-1, 1] to `(B, *record_shape)`: mean (and standard deviation)."""


class TextEncoder(Protocol):
    """Turns captions into the states that the U-Net attends to."""

    @property
    def digest(self) -> str:
        """Hex digest of weights, config and tokenizer."""

    @property
    def record_shape(self) -> tuple[int, int]:
        """`(L, D)`: tokens and width."""

    def encode(self, texts: list[str]) -> Tensor:
        """Map B captions to states with shape `(B, L, D)`."""

    def say_what_is_cut(self, texts: list[str]) -> None:
        """Say how many captions are longer than what is read of them."""


class FeatureEncoder(Protocol):
    """Turns images into features that distances are taken in."""

    @property
    def digest(self) -> str:
        """Hex digest of weights and config."""

    @property
    def width(self) -> int:
        """Number of features D."""

    def encode(self, images: Tensor) -> Tensor:
        """Map images with shape `(B, 3, H, W)`, values in [0, 1], to features with shape `(B, D)` on the CPU."""
