"""What is drawn and probed to score a model."""

from __future__ import annotations

from dataclasses import dataclass

from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.errors import RewardError
from memcontrol.measures.encoders import Encoder, LiteEncoder
from memcontrol.ranges import check_ranges

__all__ = ["ScoringOptions"]


@dataclass(frozen=True)
class ScoringOptions:
    """How much is drawn, how, and in which features it is compared.

    Args:
        num_images: Images drawn for training prompts, and as many for held-out prompts.
        num_probes: Training images, and as many held-out ones, whose losses are compared (0: all).
        draws: Noise and timestep pairs per probed image.
        attacks: Whether images are also probed by SecMI, PIA, SimA and gradients, which takes several times as long.
        encoder: Features of quality and of nearest neighbours; by default EfficientNet-Lite0.
        sampling: Steps, guidance and scheduler; by default the model's. Mitigations of the model at inference stay.
        alpha: Share of held-out images that may count as copies, in (0, 1).
        seed: Seed of prompts, pictures, noise and intervals.
        measures: Names of the measures that are computed, or null for all; what only others need is not computed.

    Raises:
        RewardError: If a number is out of range.
    """

    num_images: int = 100
    num_probes: int = 256
    draws: int = 8
    attacks: bool = True
    encoder: Encoder | None = None
    sampling: SamplingOptions | None = None
    alpha: float = 0.01
    seed: int = 0
    measures: list[str] | None = None

    def __post_init__(self) -> None:
        """Check the ranges."""
        ranges = {"num_images": "[8, inf)", "num_probes": "[0, inf)", "draws": "[1, inf)", "alpha": "(0, 1)"}
        check_ranges(RewardError, "scoring", self, ranges)
        if self.measures is not None and not self.measures:
            raise RewardError("Argument `scoring.measures` is empty. Name measures, or give null for all of them.")

    def sampling_of(self, model: SamplingOptions) -> SamplingOptions:
        """Return how a model is drawn with, from its own sampling: mitigations at inference are part of the model."""
        if self.sampling is None:
            return model
        return model.with_sampler_of(self.sampling)

    def features(self) -> Encoder:
        """Return the encoder, or the default one."""
        return self.encoder if self.encoder is not None else LiteEncoder()
