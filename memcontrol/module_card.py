"""What a checkpoint of a module belongs to: base, adapter, mask, data and guarantee, in plain values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from memcontrol.adapters.configs import config_to_plain
from memcontrol.files.card import Card
from memcontrol.files.provenance import version_of

__all__ = ["card_of"]


def card_of(module: Any) -> Card:
    """Return the record that checkpoints and adapters of a module carry.

    Of private training it says no more of the data than how many patients there are: who guesses the set could test
    for one of them by its digest.

    Args:
        module: The MemControlModule, configured; with or without a trainer.
    """
    trainer = getattr(module, "_trainer", None)
    data = getattr(trainer, "datamodule", None)
    digest = getattr(data, "training_set", None)
    is_private = module.privacy is not None
    return Card(
        base=str(Path(module.base).resolve()) if Path(module.base).exists() else module.base,
        base_fingerprint=module.base_fingerprint,
        random_init=module.random_init,
        seed=module.seed,
        adapter=config_to_plain(module.adapter),
        mask=module.mask.to_dict(),
        image_size=module.image_size,
        step=module.global_step if trainer is not None else 0,
        version=version_of("memcontrol"),
        training_set=digest() if digest is not None and not is_private else None,
        truncation_side=module.truncation_side,
        value_range=getattr(data, "value_range", None),
        scale=module.scale,
        trained=sum(p.numel() for p in module.adapted.trainable().values()),
        parameters=module.num_base,
        privacy=_guarantee(module),
        **_counts(data, is_private),
    )


def _guarantee(module: Any) -> dict[str, Any] | None:
    """Return what is proven of the weights as they are, or None outside of private training."""
    if module.privacy is None or not module.privacy.patients:
        return None
    guarantee: dict[str, Any] = module.privacy.guarantee(module.global_step).to_dict()
    return guarantee


def _counts(data: Any, is_private: bool) -> dict[str, int]:
    """Return how many images of how many patients are trained on, where the data tells."""
    if not hasattr(data, "table"):
        return {}
    rows = data.table("train")
    patients = {"patients": rows["subject_id"].nunique()}
    return patients if is_private else {"images": len(rows), **patients}
