"""The one path from a model to its scores: encode, take the real images, collect what is needed, measure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.divergence import is_finite
from memcontrol.errors import DivergedError
from memcontrol.measures.measure import Measure, Scene, chosen_measures, needs_of
from memcontrol.measures.measurement import Measurement
from memcontrol.measures.model import ScoredModel
from memcontrol.measures.needs import Evidence, Need, Shadow
from memcontrol.measures.options import ScoringOptions
from memcontrol.measures.probes import Probe
from memcontrol.measures.real import RealImages
from memcontrol.measures.samples import Samples

__all__ = ["Score", "collect", "encode_splits", "measure", "refuse_what_is_not_finite", "score"]

ENCODED_AT_ONCE = 32


@dataclass(frozen=True)
class Score:
    """A model's scores.

    Args:
        evidence: What was collected of it.
        measurements: What was measured.
    """

    evidence: Evidence
    measurements: list[Measurement]

    @property
    def sampling_seconds(self) -> float:
        """What sampling took, in seconds."""
        sampled = [self.evidence[need] for need in self.evidence.found if isinstance(need, Samples)]
        return sum(found.seconds for found in sampled)


def score(
    model: ScoredModel,
    data: CaptionedImageDataModule,
    split: str,
    options: ScoringOptions,
    base: Evidence | None = None,
    *,
    real: RealImages | None = None,
    further: Sequence[Measure] = (),
    also: Sequence[Need[Any]] = (),
    shadows: Sequence[Shadow] = (),
    encode: bool = True,
    progress: bool = False,
) -> Score:
    """Score a model: only what the chosen measures need is sampled and probed.

    Args:
        model: The model.
        data: The data, set up.
        split: Held-out split: `validate` or `test`.
        options: Measures, how much, and how.
        base: Evidence of the untouched base, the null of measures; without it, chance or held-out prompts are.
        real: Real images, where the caller keeps them.
        further: Measures that are not registered: metrics of a config.
        also: What the caller needs besides the measures.
        shadows: Models that were trained as this one on other patients.
        encode: Whether the splits are encoded by the model's own parts first; not needed where they are already.
        progress: Whether to show bars.

    Raises:
        RewardError: If a measure is unknown, or there are too few held-out patients.
    """
    real = real if real is not None else RealImages(data, split, options.features(), options.seed)
    measures = chosen_measures(options, further)
    needs = list(dict.fromkeys([*needs_of(measures), *also]))
    if encode and any(isinstance(need, Probe) for need in needs):
        encode_splits(model, data, ("train", split))
    evidence = collect(model, real, options, needs, progress)
    return Score(evidence, measure(evidence, real, options, base, measures, shadows))


def encode_splits(model: ScoredModel, data: CaptionedImageDataModule, splits: tuple[str, ...]) -> None:
    """Read latents and text states of this model's own encoders from now on."""
    images, texts = model.codecs
    for split in splits:
        data.datasets[split].latents = data.datasets[split].text_states = None
    data.encode(splits, images, texts, ENCODED_AT_ONCE)


def collect(
    model: ScoredModel,
    real: RealImages,
    options: ScoringOptions,
    needs: Iterable[Need[Any]],
    progress: bool = False,
) -> Evidence:
    """Provide what is needed; needs of one kind share their work.

    Args:
        model: The model.
        real: Real images, to take prompts and probes from.
        options: How much, and how.
        needs: What is needed.
        progress: Whether to show bars.

    Raises:
        DivergedError: If the model computes what is not finite.
    """
    kinds: dict[type[Need[Any]], list[Need[Any]]] = {}
    for need in needs:
        kinds.setdefault(need.kind(), []).append(need)
    found: dict[Need[Any], Any] = {}
    for kind, together in kinds.items():
        found.update(kind.provide(together, model, real, options, progress))
    for need, value in found.items():
        refuse_what_is_not_finite(need, value)
    return Evidence(found)


def refuse_what_is_not_finite(need: Need[Any], value: Any) -> None:
    """Refuse a model that computes NaN: no comparison with NaN would ever find anything."""
    if not is_finite(vars(value) if hasattr(value, "__dict__") else value):
        raise DivergedError(
            f"The model gives values that are no finite numbers ({type(need).__name__}), so it cannot be scored. Its "
            "training may have diverged, or its precision be too low. Take an earlier checkpoint."
        )


def measure(
    evidence: Evidence,
    real: RealImages,
    options: ScoringOptions,
    base: Evidence | None = None,
    measures: Sequence[Measure] | None = None,
    shadows: Sequence[Shadow] = (),
) -> list[Measurement]:
    """Compute every measure that the evidence allows.

    Args:
        evidence: What the model sampled and how it scored images.
        real: Real images.
        options: Measures, seed and share of false alarms.
        base: The same of the untouched base, which is the null of every measure of memorization.
        measures: Measures, where the options do not say all.
        shadows: Models that were trained as this one on other patients.
    """
    scene = Scene(real, options, base, shadows)
    chosen = chosen_measures(options) if measures is None else measures
    return [found for m in chosen if evidence.holds(m.needs) for found in m.measure(evidence, scene, base)]
