"""The record that a checkpoint and an adapter folder carry: what was trained, on which base, under which mask."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from memcontrol.errors import CheckpointError
from memcontrol.files.atomic import write_json
from memcontrol.files.run_folder import CARD
from memcontrol.plain import read_plain
from memcontrol.sizes import Size, is_size

__all__ = ["CARD_KEY", "Card", "check_fits", "check_value_range"]

FORMAT: Final = 1
NO_OPTIONS: Final = ("auto_mapping", "base_model_name_or_path", "inference_mode", "peft_version", "revision")
"""Fields of an adapter's config that change nothing of it."""
CARD_KEY: Final = "memcontrol"

log = logging.getLogger(__name__)


def _is_mask(value: Any) -> bool:
    """Whether a value is a layout with names and bits of its slots."""
    if not isinstance(value, dict) or not isinstance(value.get("layout"), str):
        return False
    names, bits = value.get("names"), value.get("bits")
    if not isinstance(names, list) or not isinstance(bits, list) or len(names) != len(bits):
        return False
    return all(isinstance(name, str) for name in names) and all(bit in (0, 1) for bit in bits)


def _is_in(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


_is_count = _is_in(0, 2**63)
RULES: Final[dict[str, Callable[[Any], bool]]] = {
    "base": _is_text,
    "base_fingerprint": _is_text,
    "random_init": lambda value: isinstance(value, bool),
    "seed": _is_in(0, 2**63),
    "adapter": lambda value: value is None or isinstance(value, dict),
    "mask": _is_mask,
    "image_size": is_size,
    "step": _is_in(0, 2**63),
    "version": _is_text,
    "training_set": lambda value: value is None or isinstance(value, str),
    "truncation_side": lambda value: value in ("right", "left"),
    "value_range": lambda value: value is None or (isinstance(value, list) and len(value) == 2),
    "scale": lambda value: isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= 1,
    "privacy": lambda value: value is None or isinstance(value, dict),
    **dict.fromkeys(("trained", "parameters", "images", "patients"), lambda value: value is None or _is_count(value)),
}
"""What the fields of a record may be."""


@dataclass(frozen=True)
class Card:
    """What an adapter was trained for and on, in plain values.

    Args:
        base: Base model, as the config named it.
        base_fingerprint: Fingerprint of its U-Net's weights.
        random_init: Whether the base had random weights.
        seed: Seed of the run (and of random weights).
        adapter: PEFT config before the mask chose its targets, or None.
        mask: Layout, slot names and bits.
        image_size: Height and width that were trained on, in pixels; one number for a square.
        step: Optimizer steps.
        version: Version of memcontrol.
        format: Version of this record.
        training_set: Digest of the images that were trained on, or None where the data does not tell.
        truncation_side: Where captions that are too long are cut.
        value_range: Values that were black and white in images deeper than 8 bits, or None where there were none.
        scale: How far from the base (0) to what was trained (1) the model draws, in [0, 1].
        trained: Number of trained parameters, or None where a record does not say.
        parameters: Number of the U-Net's parameters, or None.
        images: Number of training images, repeated ones once, or None.
        patients: Number of their patients, or None.
        privacy: The guarantee that it was trained with, see `memcontrol.privacy.Guarantee`, or None.
    """

    base: str
    base_fingerprint: str
    random_init: bool
    seed: int
    adapter: dict[str, Any] | None
    mask: dict[str, Any]
    image_size: Size
    step: int
    version: str
    format: int = FORMAT
    training_set: str | None = None
    truncation_side: str = "right"
    value_range: list[float] | None = None
    scale: float = 1.0
    trained: int | None = None
    parameters: int | None = None
    images: int | None = None
    patients: int | None = None
    privacy: dict[str, Any] | None = None

    def to_dict(self) -> dict[str, Any]:
        """Return plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Any, source: Path) -> Card:
        """Undo `to_dict`.

        Raises:
            CheckpointError: If something is missing or from a newer version.
        """
        version = values.get("format") if isinstance(values, dict) else None
        if not isinstance(version, int) or version > FORMAT:
            raise CheckpointError(
                f"{source} holds no record of memcontrol that this version reads (format {FORMAT}). Was it "
                "written by memcontrol, or by a newer one?"
            )
        try:
            size = values.get("image_size")
            card = cls(**{**values, "image_size": tuple(size) if isinstance(size, list) else size})
        except TypeError as error:
            raise CheckpointError(f"{source} holds an incomplete record of memcontrol: {error}") from error
        wrong = sorted(name for name, is_valid in RULES.items() if not is_valid(getattr(card, name)))
        if wrong:
            found = {name: getattr(card, name) for name in wrong}
            raise CheckpointError(
                f"{source} holds a record of memcontrol that makes no sense: {str(found)[:300]}. It is damaged, or not "
                "what it says it is."
            )
        return card

    @classmethod
    def read(cls, folder: Path) -> Card | None:
        """Read the record beside a PEFT folder, if there is one."""
        path = folder / CARD
        return cls.from_dict(read_plain(path, CheckpointError), path) if path.is_file() else None

    def write(self, folder: Path) -> None:
        """Write the record beside a PEFT folder, which may be given away."""
        write_json(folder / CARD, {**self.to_dict(), "base": self.public_base})

    @property
    def public_base(self) -> str:
        """The base as others may read it: of one in a folder of this machine, its name alone."""
        return Path(self.base).name if Path(self.base).expanduser().is_absolute() else self.base

    @property
    def bits(self) -> str:
        """The mask as `bits:0110...`."""
        return f"bits:{''.join(map(str, self.mask['bits']))}"


def changed_options(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> list[str]:
    """Return the options of an adapter that differ, in words; one that only one version of PEFT has is no difference.

    Example:
        >>> changed_options({"r": 4, "lora_alpha": 4, "peft_version": "0.18"}, {"r": 4, "lora_alpha": 8})
        ['`lora_alpha` 4 (the config says 8)']
    """
    shared = [name for name in theirs if name in ours and name not in NO_OPTIONS]
    return [f"`{n}` {theirs[n]} (the config says {ours[n]})" for n in shared if theirs[n] != ours[n]]


def check_fits(checkpoint: dict[str, Any], ours: Card, expected: set[str]) -> None:
    """Refuse weights that were trained under another mask, by another adapter or on another base.

    Args:
        checkpoint: What the file holds.
        ours: Record that the config's model would write.
        expected: Names of what the config trains.

    Raises:
        CheckpointError: If they do not fit.
    """
    if CARD_KEY not in checkpoint:
        raise CheckpointError(f"The checkpoint has no `{CARD_KEY}` record: memcontrol did not write it.")
    theirs, names = Card.from_dict(checkpoint[CARD_KEY], Path("The checkpoint")), set(checkpoint["state_dict"])
    if theirs.mask != ours.mask:
        raise CheckpointError(
            f"The checkpoint was trained with slots `{theirs.mask['layout']}` and mask {theirs.bits}, but the config "
            f"says `{ours.mask['layout']}` and {ours.bits}. Give the config of its run (config.yaml in the run "
            "folder)."
        )
    if names != expected:
        raise CheckpointError(
            f"The checkpoint holds {len(names)} trained tensors, but the config trains {len(expected)} others. Give "
            f"the adapter that it was trained with: {theirs.adapter}."
        )
    if theirs.base_fingerprint != ours.base_fingerprint:
        raise CheckpointError(
            f"The checkpoint was trained on the base {theirs.base!r}, whose U-Net has other weights than that of "
            f"{ours.base!r}. Give `--model.base` the model it was trained on."
        )
    if theirs.truncation_side != ours.truncation_side:
        raise CheckpointError(
            f"The checkpoint was trained on captions that were cut at the {theirs.truncation_side}, but "
            f"`model.truncation_side` is {ours.truncation_side}. Give the one that it was trained with."
        )
    changed = changed_options(theirs.adapter or {}, ours.adapter or {})
    if changed:
        raise CheckpointError(
            f"The checkpoint was trained with the adapter's {', '.join(changed)}. Give `model.adapter` the "
            "options that it was trained with (config.yaml in the run folder)."
        )
    check_value_range(theirs, ours.value_range)
    if theirs.training_set not in (None, ours.training_set):
        log.warning("The checkpoint was trained on other images than the config's training split")


def check_value_range(card: Card, present: list[float] | None) -> None:
    """Refuse data whose deep images are read otherwise than those that were trained on.

    Args:
        card: Record of what was trained.
        present: Values that are black and white now, or None where no image is deeper than 8 bits.

    Raises:
        CheckpointError: If both are known and differ.
    """
    if card.value_range is not None and present is not None and card.value_range != present:
        raise CheckpointError(
            f"The model was trained on images of which the values {card.value_range} were black and white, but now "
            f"{present} are. Give `--data.value_range '{card.value_range}'`."
        )
