"""Options of private training."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

from memcontrol.errors import GuaranteeError
from memcontrol.ranges import check_ranges

__all__ = ["Accountant", "PrivacyOptions"]

Accountant = Literal["pld", "rdp"]

RANGES: Final = {
    "epsilon": "(0, inf]",
    "delta": "(0, 1)",
    "clip": "(0, inf)",
    "noise_multiplier": "[0, inf)",
    "draws": "[1, 4096]",
    "microbatch": "[1, 65536]",
    "canaries": "[0, inf)",
}


@dataclass(frozen=True)
class PrivacyOptions:
    """How much one patient may change what is trained, in the sense of (epsilon, delta)-differential privacy.

    Neighbouring data sets differ by one patient with all images. Each step takes each patient with the probability
    `data.batch_size` (on all devices) / number of training patients, by a coin of its own.

    Args:
        epsilon: Bound at the end of training (`trainer.max_steps`), for which the noise is solved; `.inf` is no bound.
        delta: Probability with which the bound may fail, in (0, 1); it must be below 1 / number of training patients.
        clip: Largest Euclidean norm of what one patient adds to a step, over all that is trained. The noise grows with
            it, so it should be no longer than most gradients are, and those of adapters are short (0.05 at the median
            for LoRA and SVDiff, 0.7 for full fine-tuning, of a U-Net of 11 million parameters). AdamW's steps do not
            depend on the length of gradients: a clip that nearly all exceed, as the default is, lets each patient say
            a direction and no length (Bu et al., "Automatic clipping", https://arxiv.org/abs/2206.07136).
        noise_multiplier: Instead of `epsilon`: standard deviation of the noise in units of `clip`; 0 is no noise.
        draws: Samples of each patient in a step: images, in turn, each with a timestep and noise of its own, whose mean
            gradient is clipped. More cost time and no privacy, and make the gradient surer.
        microbatch: Patients whose gradients are held at once: memory and speed, and rounding.
        accountant: `pld` (privacy loss distributions, tight) or `rdp` (Renyi, looser and fast), of `dp-accounting`.
        canaries: Number of made-up patients with known gradients that are put into training, half of them by coins, to
            measure how much of the bound is used (`privacy.json` in the run folder). They cost quality: for a test of
            the installation, and not for a model that is used.

    Raises:
        GuaranteeError: If a number is out of range, or not exactly one of `epsilon` and `noise_multiplier` is given.

    References:
        Abadi et al., "Deep learning with differential privacy", CCS 2016, https://arxiv.org/abs/1607.00133
        (algorithm 1, with the patient in the place of the example).
    """

    epsilon: float | None = None
    delta: float = 1e-5
    clip: float = 0.01
    noise_multiplier: float | None = None
    draws: int = 4
    microbatch: int = 8
    accountant: Accountant = "pld"
    canaries: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        check_ranges(GuaranteeError, "model.privacy", self, RANGES)
        if (self.epsilon is None) == (self.noise_multiplier is None):
            raise GuaranteeError(
                "Argument `model.privacy` needs either `epsilon`, for which the noise is solved, or "
                f"`noise_multiplier`, but got epsilon={self.epsilon} and noise_multiplier={self.noise_multiplier}."
            )
