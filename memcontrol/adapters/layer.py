"""What our three PEFT layers share: a leaf module whose parameters are replaced, never edited.

A `LeafLayer` keeps its base layer untouched and computes with other parameters. Merging writes them into
the base layer and keeps a copy of what was there, so that unmerging returns it bit for bit.
"""

from __future__ import annotations

import warnings
from abc import abstractmethod
from typing import TYPE_CHECKING, Any

import torch
from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer, check_adapters_to_merge
from torch import Tensor, nn
from torch.func import functional_call
from tqdm import tqdm

__all__ = ["LeafLayer", "LeafModel"]


class LeafLayer(nn.Module, BaseTunerLayer):
    """A Linear, Conv2d or norm that computes with adapted parameters.

    Args:
        base_layer: The layer to adapt; it is kept as it is.
        adapter_name: PEFT's name of the adapter.
        config: The adapter's config.
        module_name: Full name of the layer in the model.
    """

    if TYPE_CHECKING:  # what PEFT's mixin brings, which has no types
        merged: bool
        disable_adapters: bool
        active_adapters: list[str]
        adapter_layer_names: tuple[str, ...]

        def get_base_layer(self) -> nn.Module: ...  # noqa: D102
        def set_adapter(self, names: list[str], inference_mode: bool = False) -> None: ...  # noqa: D102
        def _move_adapter_to_device_of_base_layer(self, adapter_name: str) -> None: ...

    def __init__(self, base_layer: nn.Module, adapter_name: str, config: PeftConfig, module_name: str) -> None:
        super().__init__()
        self.base_layer = base_layer
        self.merged_adapters: list[str] = []
        self._kept: dict[str, Tensor] = {}
        self._active_adapter = adapter_name
        self.prepare()
        self.update_layer(adapter_name, config, module_name)

    def prepare(self) -> None:
        """Create the containers of `adapter_layer_names` and what is shared by all adapters."""
        for name in self.adapter_layer_names:
            setattr(self, name, nn.ParameterDict())

    @abstractmethod
    def add_parameters(self, adapter_name: str, config: PeftConfig, module_name: str) -> None:
        """Create the trainable parameters of one adapter, such that it changes nothing yet."""

    @abstractmethod
    def adapted_parameters(self, adapter_name: str) -> dict[str, Tensor]:
        """Return the parameters of the base layer that differ under the adapter, by name."""

    def update_layer(self, adapter_name: str, config: PeftConfig, module_name: str) -> None:
        """Add an adapter."""
        self.add_parameters(adapter_name, config, module_name)
        self._move_adapter_to_device_of_base_layer(adapter_name)
        self.set_adapter(self.active_adapters, inference_mode=config.inference_mode)

    def merge(self, safe_merge: bool = False, adapter_names: list[str] | None = None) -> None:
        """Write the adapted parameters into the base layer.

        Raises:
            ValueError: If more than one adapter would be merged, or if `safe_merge` finds a value that
                is not finite.
        """
        names = check_adapters_to_merge(self, adapter_names)
        if not names:
            return
        if len(names) > 1 or self.merged_adapters:
            raise ValueError(f"Only one adapter can be merged at a time, but got {names}.")
        with torch.no_grad():
            adapted = self.adapted_parameters(names[0])
            if safe_merge and not all(torch.isfinite(value).all() for value in adapted.values()):
                raise ValueError(f"Adapter {names[0]!r} has values that are not finite.")
            for key, value in adapted.items():
                parameter = self.get_base_layer().get_parameter(key)
                self._kept[key] = parameter.detach().clone()
                parameter.copy_(value)
        self.merged_adapters.append(names[0])

    def unmerge(self) -> None:
        """Put the kept parameters back."""
        if not self.merged:
            warnings.warn("Already unmerged. Nothing to do.", stacklevel=2)
            return
        with torch.no_grad():
            for key, value in self._kept.items():
                self.get_base_layer().get_parameter(key).copy_(value)
        self._kept.clear()
        self.merged_adapters.clear()

    def forward(self, x: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        """Compute with the adapted parameters, or with the base's where adapters are disabled."""
        if self.disable_adapters and self.merged:
            self.unmerge()
        names = [name for name in self.active_adapters if self.holds(name)]
        if self.disable_adapters or self.merged or not names:
            output: Tensor = self.base_layer(x, *args, **kwargs)
            return output
        return self.adapted_forward(names[0], x)

    def holds(self, adapter_name: str) -> bool:
        """Whether this layer has parameters of the adapter."""
        return any(adapter_name in getattr(self, name) for name in self.adapter_layer_names)

    def adapted_forward(self, adapter_name: str, x: Tensor) -> Tensor:
        """Compute the adapted output; a method with a cheaper form than its weights overrides this."""
        output: Tensor = functional_call(self.base_layer, self.adapted_parameters(adapter_name), (x,))
        return output


class LeafModel(BaseTuner):
    """Puts layers of the class `tuner_layer_cls` in the place of target modules."""

    target_module_mapping: dict[str, list[str]] = {}  # noqa: RUF012 - PEFT's own declaration

    def inject_adapter(self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any) -> Any:
        """Put the layers in, with a progress bar where that takes long."""
        targets = self.peft_config[adapter_name].target_modules
        total = None if targets is None or isinstance(targets, str) else len(targets)
        with tqdm(total=total, desc="adapting layers", unit="layer", delay=3, leave=False) as self._bar:
            return super().inject_adapter(model, adapter_name, *args, **kwargs)

    def _create_and_replace(
        self,
        peft_config: PeftConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        **_: Any,
    ) -> None:
        if isinstance(target, LeafLayer):
            target.update_layer(adapter_name, peft_config, current_key)
            return
        layer = self.tuner_layer_cls(target, adapter_name, peft_config, current_key)
        if adapter_name not in self.active_adapters:
            layer.requires_grad_(False)
        self._replace_module(parent, target_name, layer, target)
        self._bar.update()
