"""From a run, checkpoint or adapter folder to a diffusers pipeline."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model_state_dict
from peft.config import PeftConfig
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from memcontrol.adapters import adapt, resolve_mask
from memcontrol.adapters.configs import config_from_plain, read_peft_config
from memcontrol.adapters.inject import base_weights
from memcontrol.adapters.kinds import REFUSALS
from memcontrol.diffusion.bases import build_skeleton, load_components
from memcontrol.diffusion.components import Components, Pipeline, register_drawn_size
from memcontrol.errors import CheckpointError
from memcontrol.files.card import Card
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from memcontrol.files.digests import fingerprint
from memcontrol.files.run_folder import newest_run
from memcontrol.ranges import check_ranges

__all__ = ["Tuned", "load_pipeline", "open_tuned"]


@dataclass
class Tuned:
    """A base with what was trained on it, not merged yet.

    Args:
        parts: The base's parts; the U-Net among them holds the adapter.
        model: PEFT's view of the U-Net, or None where nothing is adapted.
        card: What the run says of itself, where it does.
        reach: What was trained besides what PEFT's layers hold, where that is more; then only the whole can be had.
    """

    parts: Components
    model: PeftModel | None
    card: Card | None
    reach: str = ""

    @property
    def scale(self) -> float:
        """How far to go from the base to what was trained, as the run says."""
        return self.card.scale if self.card is not None else 1.0

    def need_layers_only(self, what: str) -> None:
        """Refuse what asks for the difference to the base where that is not known.

        Raises:
            CheckpointError: If weights were trained outside of PEFT's layers.
        """
        if self.reach:
            raise CheckpointError(
                f"This adapter trains more than its layers ({self.reach}), so its difference to the base is not known, "
                f"and {what} cannot be had. Take it whole: a scale of 1, and `--format pipeline`."
            )

    def merge(self, scale: float = 1.0) -> None:
        """Write the adapter into the weights for good.

        Args:
            scale: How far to go from the base (0) to what was trained (1).

        Raises:
            CheckpointError: If the method leaves other weights than those of its base, and the scale is below 1.
        """
        if scale < 1:
            self.need_layers_only(f"a scale of {scale}")
        if self.model is None:
            return
        before = {name: w.detach().clone() for name, w in base_weights(self.parts.unet)} if scale < 1 else {}
        self.model.base_model.merge_and_unload()
        _move_back(self.parts.unet, before, scale)


def _reach(config: PeftConfig) -> str:
    """Return what a PEFT config trains besides its own layers, in words."""
    whole = getattr(config, "modules_to_save", None)
    bias = getattr(config, "bias", "none")
    return f"modules_to_save {whole}" if whole else f"bias {bias!r}" if bias not in ("none", None) else ""


def load_pipeline(
    path: str | Path,
    base: str | None = None,
    dtype: torch.dtype = torch.float32,
    merge: bool = True,
    scale: float | None = None,
) -> Pipeline:
    """Load what a run has trained as a pipeline of diffusers.

    Args:
        path: A run folder, a checkpoint, or a PEFT folder (`adapter/` of a run, or any PEFT folder for a
            diffusers U-Net).
        base: Base model, if not the one that the run names.
        dtype: Type of the weights.
        merge: Whether to write the adapter into the weights, which draws faster.
        scale: How far to go from the base (0) to what was trained (1), in [0, 1]: whatever the method, each weight is
            moved by this share of its change. A model that has gone half of the way memorizes less than one that has
            gone all of it. By default what the run says (`model.scale`). Less than 1 needs `merge`.

    Returns:
        A pipeline on the CPU, which draws at the size that was trained on.

    Raises:
        CheckpointError: If there is nothing to load, it would run code, it belongs to another base, or the scale is
            out of range or cannot be had.
        BaseModelError: If the base is not found.

    Example:
        >>> pipeline = load_pipeline("runs/demo/version_0")  # doctest: +SKIP
        >>> pipeline("CXR PA, 60M; no acute finding").images[0]  # doctest: +SKIP
    """
    check_ranges(CheckpointError, "", {"scale": scale}, {"scale": "[0, 1]"})
    tuned = open_tuned(path, base)
    scale = tuned.scale if scale is None else scale
    if scale < 1 and not merge:
        raise CheckpointError(f"Argument `scale` is {scale}, which needs `merge=True`: only whole weights are moved.")
    if merge:
        tuned.merge(scale)
    pipeline: Pipeline = tuned.parts.pipeline().to(dtype)
    return pipeline


def open_tuned(path: str | Path, base: str | None = None) -> Tuned:
    """Load what a run has trained, with the adapter still in the U-Net.

    Args:
        path: See `load_pipeline`.
        base: Base model, if not the one that the run names.

    Raises:
        CheckpointError: If there is nothing to load, it would run code, or it belongs to another base.
        BaseModelError: If the base is not found.
    """
    path = newest_run(Path(path).expanduser())
    is_peft_folder = (path / "adapter_config.json").is_file()
    return _from_peft_folder(path, base) if is_peft_folder else _from_checkpoint(path, base)


def _from_checkpoint(path: Path, base: str | None) -> Tuned:
    card, weights = read_checkpoint(find_checkpoint(path))
    _check_fits(path, card, weights, base)
    parts = _load_base(card, base)
    layout, mask = resolve_mask(parts.unet, card.mask["layout"], card.mask["bits"])
    adapted = adapt(parts.unet, config_from_plain(card.adapter), layout, mask, card.seed, allow_empty=True)
    parts.unet.load_state_dict(weights, strict=False)
    return Tuned(parts, adapted.peft_model, card)


def _from_peft_folder(path: Path, base: str | None) -> Tuned:
    if not (path / "adapter_model.safetensors").is_file():
        raise CheckpointError(
            f"{path} has no adapter_model.safetensors; other formats can run code and are not loaded."
        )
    card = Card.read(path)
    if card is None and base is None:
        raise CheckpointError(f"{path} does not name its base: give it as `base`.")
    skeleton = build_skeleton(base or str(card and card.base), online=base is not None)
    config = read_peft_config(path, [name for name, _ in skeleton.named_modules()])
    parts = _load_base(card, base) if card is not None else load_components(str(base))
    try:
        with safe_open(path / "adapter_model.safetensors", "pt") as file:
            found = set(file.keys())
        model = PeftModel.from_pretrained(parts.unet, str(path), config=config)
    except (AttributeError, KeyError, SafetensorError, *REFUSALS) as error:
        raise CheckpointError(f"{path} cannot be put on its base: {_first_line(error)}. It is damaged.") from error
    weights = get_peft_model_state_dict(model, save_embedding_layers=False)
    if found != set(weights):
        raise CheckpointError(f"{path} holds {len(found)} tensors, but its config calls for {len(weights)} others.")
    if not all(bool(value.isfinite().all()) for value in weights.values()):
        raise CheckpointError(f"{path} holds values that are no finite numbers: its training has diverged.")
    return Tuned(parts, model, card, _reach(config))


@torch.no_grad()
def _move_back(unet: nn.Module, before: dict[str, Tensor], scale: float) -> None:
    """Leave each weight at a share of its way from what it was before; nothing is to be done without these."""
    owners = {name.rpartition(".")[0] for name in before}
    after = {
        f"{owner}.{key}": weight
        for owner in owners
        for key, weight in unet.get_submodule(owner).named_parameters(recurse=False)
    }
    if before and set(after) != set(before):
        raise CheckpointError(
            f"Argument `scale` is {scale}, but this method leaves other weights than those of its base, first of all "
            f"{min(set(after) ^ set(before))!r}. Load it with a scale of 1."
        )
    for name, weight in before.items():
        after[name].copy_(torch.lerp(weight, after[name], scale))


def _check_fits(path: Path, card: Card, weights: dict[str, Tensor], base: str | None) -> None:
    """Refuse weights that do not fit their own adapter, mask and base, before a base is loaded."""
    skeleton = build_skeleton(base or card.base, online=base is not None)
    layout, mask = resolve_mask(skeleton, card.mask["layout"], card.mask["bits"])
    if list(mask.names) != card.mask["names"]:
        raise CheckpointError(f"{path} has slots {card.mask['names']}, but its base has {list(mask.names)}.")
    expected = adapt(skeleton, config_from_plain(card.adapter), layout, mask, allow_empty=True).trainable()
    wrong = sorted(set(weights) ^ set(expected))
    wrong += [name for name in set(weights) & set(expected) if weights[name].shape != expected[name].shape]
    if wrong:
        raise CheckpointError(
            f"{path} holds other weights than its own adapter and mask call for, first of all {wrong[0]!r}. It is "
            "damaged, or belongs to another base."
        )


def _first_line(error: BaseException) -> str:
    return (str(error).strip().split("\n")[0] or type(error).__name__).rstrip(".:")


def _load_base(card: Card, base: str | None) -> Components:
    parts = load_components(base or card.base, card.random_init, card.seed, online=base is not None)
    parts.truncate(card.truncation_side)
    if fingerprint(parts.unet) != card.base_fingerprint:
        raise CheckpointError(
            f"The adapter was trained on the base {card.base!r}, but the U-Net of {base or card.base!r} has other "
            "weights. Give the base that it was trained on."
        )
    factor = 2 ** (len(parts.vae.config["block_out_channels"]) - 1)
    register_drawn_size(parts.unet, card.image_size, factor)
    return parts
