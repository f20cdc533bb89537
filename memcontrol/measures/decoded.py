"""How far lies what a model draws from held-out patients, as far as its autoencoder can show them at all?"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from memcontrol.data.features import split_features
from memcontrol.files.digests import digest_of
from memcontrol.measures.aggregators import Values
from memcontrol.measures.distance import FeatureMeasure, KernelDistance
from memcontrol.measures.encoders import Encoder
from memcontrol.measures.functional.kernel import kernel_statistic
from memcontrol.measures.functional.whitening import whitening
from memcontrol.measures.measure import Scene, register
from memcontrol.measures.model import ScoredModel
from memcontrol.measures.needs import Evidence, Need
from memcontrol.measures.options import ScoringOptions
from memcontrol.measures.real import RealImages
from memcontrol.measures.samples import Samples

__all__ = ["Decoded", "KIDDecoded"]


@dataclass(frozen=True)
class Decoded(Need[Tensor]):
    """Features of held-out images as the model's autoencoder gives them back, with shape `(k, D)`."""

    @classmethod
    def provide(
        cls, needs: list[Any], model: ScoredModel, real: RealImages, options: ScoringOptions, progress: bool
    ) -> Mapping[Decoded, Tensor]:
        """Encode each image once; the cache keeps its features for all models with this autoencoder."""
        return {cls(): split_features(real.data, real.heldout_split, _Through(model, real.encoder))}


class _Through:
    """The encoder behind an autoencoder."""

    def __init__(self, model: ScoredModel, encoder: Encoder) -> None:
        self.model = model
        self.encoder = encoder
        self.digest = digest_of(model.codecs[0].digest, encoder.digest)
        self.width = encoder.width

    def encode(self, images: Tensor) -> Tensor:
        """Map images with shape `(B, 3, H, W)`, values in [0, 1], to features with shape `(B, D)` on the CPU."""
        return self.encoder.encode(self.model.reconstruct(images))


class KIDDecoded(FeatureMeasure):
    """The kernel distance to held-out images that went through the model's autoencoder, whitened.

    All that a latent diffusion model draws comes out of its decoder, and bears its marks: a lack of fine detail, say,
    which no fine-tuning of the U-Net can mend, and which features of natural images see before all else. Distances to
    the images themselves hold that in every model, and more of it the better the rest is; compared with decoded ones,
    0 is what a perfect U-Net would reach, and what is left is what models differ in.
    """

    name = "kid_decoded"
    higher_is_better = False
    needs = (Samples("heldout"), Decoded())
    aggregator = KernelDistance(kernel_statistic)
    words = "the same to held-out images that went through the autoencoder: 0 is what a perfect U-Net would reach"
    column = 15

    def values(self, evidence: Evidence, scene: Scene) -> Values:
        """Return whitened features of pictures, with shape `(n, d)`, and of decoded held-out images, `(k, d)`."""
        sampled, decoded = evidence[Samples("heldout")], evidence[Decoded()]
        whiten = whitening(decoded)
        subjects = scene.real.subjects(scene.real.heldout_split)
        return Values(whiten(sampled.features), sampled.subjects, whiten(decoded), subjects)


register(KIDDecoded())
