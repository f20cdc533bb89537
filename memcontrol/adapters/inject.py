"""Reversible surgery: put a masked adapter into a U-Net, and take it out again."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from peft import PeftModel, get_peft_model
from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTunerLayer
from torch import Tensor, nn

from memcontrol.adapters.kinds import REFUSALS
from memcontrol.adapters.layer import LeafLayer
from memcontrol.adapters.method import method_of
from memcontrol.adapters.plan import make_plan
from memcontrol.adapters.slots import Layout, LayoutName, find_layout
from memcontrol.errors import AdapterError, MaskError
from memcontrol.masks import Mask, MaskSpec
from memcontrol.seeds import scoped_seed

__all__ = ["AdaptedUNet", "adapt", "base_weights", "resolve_mask"]


def base_weights(unet: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Return the base parameters under all adapted layers, by their name in the plain U-Net."""
    for name, module in unet.named_modules():
        if isinstance(module, BaseTunerLayer) and not isinstance(module.base_layer, BaseTunerLayer):
            for key, parameter in module.base_layer.named_parameters(recurse=False):
                yield f"{name}.{key}", parameter


@dataclass
class AdaptedUNet:
    """A U-Net with an adapter in it.

    The U-Net itself was changed in place and stays the diffusers model it was.

    Args:
        unet: The U-Net.
        peft_model: PEFT's view of it, or None where nothing is adapted.
        mask: Which slots are on.
        layout: The slots.
        config: The method, before the mask chose its targets.
    """

    unet: nn.Module
    peft_model: PeftModel | None
    mask: Mask
    layout: Layout
    config: PeftConfig | None = None

    def vectors(self) -> set[str]:
        """Return the names of trained parameters that belong to 1-D weights, see `optimizer.lr_1d`."""
        if self.config is None:
            return set()
        method = method_of(self.config)
        return {name for name in self.trainable() if method.is_vector(self.unet, name)}

    def trainable(self) -> dict[str, nn.Parameter]:
        """Return the parameters that are trained, by their name in the U-Net."""
        return {name: p for name, p in self.unet.named_parameters() if p.requires_grad}

    @contextmanager
    def as_base(self) -> Iterator[None]:
        """Compute as the untouched base inside the block."""
        if self.peft_model is None:
            yield
        else:
            with self.peft_model.disable_adapter():
                yield

    @contextmanager
    def merged(self, scale: float = 1.0) -> Iterator[None]:
        """Hold the adapted weights in the base layers inside the block, then restore them bit for bit.

        Args:
            scale: How far to go from the base (0) to the adapted weights (1), in [0, 1].
        """
        if self.peft_model is None:
            yield
            return
        kept = {name: p.detach().clone() for name, p in self._merged_by_peft()}
        before = {name: p.detach().clone() for name, p in base_weights(self.unet)} if scale < 1 else {}
        self.peft_model.merge_adapter()
        try:
            with torch.no_grad():
                for name, weight in base_weights(self.unet) if before else ():
                    weight.copy_(torch.lerp(before[name], weight, scale))
            yield
        finally:
            self.peft_model.unmerge_adapter()
            with torch.no_grad():
                for name, parameter in self._merged_by_peft():
                    # Some methods merge into a tensor of another layout, which rounds otherwise.
                    if parameter.stride() != kept[name].stride():
                        parameter.data = kept[name]
                    parameter.copy_(kept[name])

    def eject(self) -> nn.Module:
        """Take the adapter out; the U-Net is the base again, bit for bit."""
        if self.peft_model is not None:
            self.peft_model.base_model.unload()
            self.peft_model = None
        return self.unet

    def merge_and_eject(self) -> nn.Module:
        """Write the adapter into the weights for good and return the plain U-Net."""
        if self.peft_model is not None:
            self.peft_model.base_model.merge_and_unload()
            self.peft_model = None
        return self.unet

    def save(self, folder: Path) -> None:
        """Write a PEFT folder (safetensors and `adapter_config.json`) and the mask beside it."""
        if self.peft_model is None:
            raise AdapterError("There is no adapter to save: `adapter` is none, or its mask frees nothing.")
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Could not find a config file")
            self.peft_model.save_pretrained(str(folder), save_embedding_layers=False)

    def _merged_by_peft(self) -> Iterator[tuple[str, Tensor]]:
        """Return those of them under PEFT's own layers; ours keep what they replace."""
        for name, parameter in base_weights(self.unet):
            if not isinstance(self.unet.get_submodule(name.rpartition(".")[0]), LeafLayer):
                yield name, parameter


def resolve_mask(unet: nn.Module, slots: LayoutName, mask: MaskSpec) -> tuple[Layout, Mask]:
    """Find the slots of a U-Net and read a mask over them.

    Raises:
        MaskError: If the layout does not fit the U-Net or the mask does not fit the layout.
    """
    layout = find_layout(unet, slots)
    return layout, Mask.parse(mask, layout.name, layout.names)


def adapt(
    unet: nn.Module,
    config: PeftConfig | None,
    layout: Layout,
    mask: Mask,
    seed: int = 0,
    allow_empty: bool = False,
) -> AdaptedUNet:
    """Put an adapter into a U-Net, where the mask says so.

    Args:
        unet: A diffusers U-Net; it is changed in place and frozen but for the adapter.
        config: PEFT config of the method, or None for no adapter.
        layout: The slots.
        mask: Which slots are on.
        seed: Seed of the adapter's initial values, where they are random.
        allow_empty: Whether a mask that frees nothing is fine.

    Returns:
        The adapted U-Net; a fresh adapter changes no output.

    Raises:
        AdapterError: If the method can adapt nothing in a slot, or fails on a module of it.
        MaskError: If the mask frees nothing and `allow_empty` is false.
    """
    unet.requires_grad_(False)
    if config is None:
        return AdaptedUNet(unet, None, mask, layout)
    plan = make_plan(unet, config, layout)
    targeted = plan.config(mask)
    if targeted is None:
        if not allow_empty:
            raise MaskError(
                f"Argument `mask` has all bits off, and in the layout `{layout.name}` that frees nothing to "
                f"train. Turn a bit on, or say `adapter: null` to run the base alone.\n{mask.table()}"
            )
        return AdaptedUNet(unet, None, mask, layout, config)
    with scoped_seed(seed, "adapter"), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*already.*peft_config.*")
        try:
            peft_model = get_peft_model(unet, targeted, autocast_adapter_dtype=False)
        except REFUSALS as error:
            raise AdapterError(
                f"PEFT could not put {type(config).__name__} into the slots {list(mask.on)}: {error} Narrow "
                "`target_modules`, or choose options that fit these layers."
            ) from error
    adapted = AdaptedUNet(unet, peft_model, mask, layout, config)
    _refuse_what_the_mask_does_not_free(adapted, plan.units(mask))
    return adapted


def _refuse_what_the_mask_does_not_free(adapted: AdaptedUNet, units: list[str]) -> None:
    """Raise an AdapterError if PEFT trains more than the planned units (`modules_to_save`, ...)."""
    assert adapted.config is not None
    method, planned = method_of(adapted.config), set(units)
    further = [name for name in adapted.trainable() if method.unit_of(name) not in planned]
    if further:
        adapted.eject()
        raise AdapterError(
            f"Argument `adapter` is {type(adapted.config).__name__}, whose options train {len(further)} parameters "
            f"that the mask does not free, first of all {further[0]!r}. The mask alone says what is trained: leave out "
            "`modules_to_save`, `target_parameters` and the like."
        )
