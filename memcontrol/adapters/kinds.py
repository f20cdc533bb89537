"""Which kinds of layers a PEFT method can adapt, found by trying it on a small one of each.

PEFT does not declare it, and some methods accept a layer that they then get wrong (OFT on 3x3 convolutions), so a kind
counts only if the fresh adapter changes nothing. A config that would change the base itself (PEFT's `bias: all`,
PiSSA's initial values, ...) is refused: the base is what memorization and quality are compared with.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from contextlib import suppress
from copy import deepcopy
from dataclasses import replace
from typing import Any, Final

import torch
from peft import PeftModel, get_peft_model
from peft.config import PeftConfig
from peft.tuners.tuners_utils import check_target_module_exists
from peft.utils.constants import INCLUDE_LINEAR_LAYERS_SHORTHAND
from torch import Tensor, nn

from memcontrol.adapters.configs import config_to_plain
from memcontrol.errors import AdapterError
from memcontrol.seeds import scoped_seed

__all__ = ["KINDS", "REFUSALS", "adaptable_kinds", "kind_of", "matches_targets"]

KINDS: Final[dict[str, Callable[[], tuple[nn.Module, tuple[int, ...]]]]] = {
    "Linear": lambda: (nn.Linear(64, 64), (2, 64)),
    "Linear without bias": lambda: (nn.Linear(64, 64, bias=False), (2, 64)),
    "Conv2d 1x1": lambda: (nn.Conv2d(64, 64, 1), (2, 64, 4, 4)),
    "Conv2d": lambda: (nn.Conv2d(64, 64, 3, padding=1), (2, 64, 4, 4)),
    "LayerNorm": lambda: (nn.LayerNorm(64), (2, 64)),
    "GroupNorm": lambda: (nn.GroupNorm(8, 64), (2, 64, 4, 4)),
}
"""Name of each kind of layer in a U-Net, with a small layer and the shape of its input."""

FRESH_TOLERANCE: Final = 1e-3
REFUSALS: Final = (
    AttributeError,
    ImportError,
    LookupError,
    NotImplementedError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What PEFT raises where a method cannot take a layer."""


def kind_of(module: nn.Module) -> str:
    """Return the kind of a layer, or the name of its class."""
    if isinstance(module, nn.Conv2d):
        return "Conv2d 1x1" if module.kernel_size == (1, 1) else "Conv2d"
    if isinstance(module, nn.Linear) and module.bias is None:
        return "Linear without bias"
    return type(module).__name__


def adaptable_kinds(config: PeftConfig) -> set[str]:
    """Try a method on a small layer of each kind.

    Args:
        config: Config of a PEFT method; its targets are ignored.

    Returns:
        Kinds on which the method injects, computes, and leaves the output of a fresh adapter within 1e-3
        of the base's.

    Raises:
        AdapterError: If there is no such kind, or if on one of them the config trains nothing, trains the base itself,
            or does not give the base back where it is switched off or taken out.
    """
    reasons = {kind: _reason_against(config, kind) for kind in KINDS}
    kinds = {kind for kind, reason in reasons.items() if not reason}
    if not kinds:
        told = "\n".join(f"  {kind}: {reason}" for kind, reason in reasons.items())
        raise AdapterError(
            f"Argument `adapter` is {type(config).__name__} with {_changed(config)}, which can adapt no kind of layer "
            f"that a U-Net has:\n{told}\nLeave these options at their defaults."
        )
    return kinds


def matches_targets(config: PeftConfig, name: str, module: nn.Module) -> bool:
    """Whether PEFT would take a module, by the targets, layers and exclusions that a user gave, if any were given."""
    targets = getattr(config, "target_modules", None)
    if isinstance(targets, str) and targets.lower() == INCLUDE_LINEAR_LAYERS_SHORTHAND:
        return isinstance(module, nn.Linear) and matches_targets(_with(config, None), name, module)
    if not targets:
        config = _with(config, [name.rsplit(".", 1)[-1]])
    return bool(check_target_module_exists(config, name))


def _with(config: PeftConfig, targets: list[str] | None, **options: Any) -> PeftConfig:
    """Return the config with these targets, and with those of the options that it has."""
    known = {name: value for name, value in options.items() if hasattr(config, name)}
    return replace(deepcopy(config), target_modules=targets, **known)


def _reason_against(config: PeftConfig, kind: str) -> str:
    """Return why a method cannot adapt a kind of layer; empty if it can."""
    with scoped_seed(0, kind), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        layer, shape = KINDS[kind]()
        holder = nn.ModuleDict({"probe": layer}).eval()
        before = {name: value.clone() for name, value in holder.state_dict().items()}
        base = list(holder.parameters())
        x = torch.randn(shape)
        expected = layer(x)
        try:
            model = _inject(config, holder)
            output = holder["probe"](x)
            merged = _inject(config, nn.ModuleDict({"probe": KINDS[kind]()[0]}))
            merged.merge_adapter()
            merged.unmerge_adapter()
        except REFUSALS as error:
            return f"{type(error).__name__}: {error}".split("\n", 1)[0]
        if not torch.allclose(output, expected, atol=FRESH_TOLERANCE, rtol=0):
            return f"a fresh adapter changes outputs by {float((output - expected).detach().abs().max()):.2g}"
        fault = _fault(model, holder, base, before, x, expected)
    if fault:
        raise AdapterError(
            f"Argument `adapter` is {type(config).__name__} with {_changed(config)}: on a layer of the kind {kind}, "
            f"{fault}. What the base does must stay what it was, since memorization and quality are compared with it. "
            "Leave these options at their defaults; biases and norms are tuned by "
            "`memcontrol.adapters.SelectiveConfig`."
        )
    return ""


def _inject(config: PeftConfig, holder: nn.ModuleDict) -> PeftModel:
    model: PeftModel = get_peft_model(
        holder, _with(config, ["probe"], exclude_modules=None, rank_pattern={}, alpha_pattern={})
    )
    holder.eval()
    return model


def _fault(
    model: PeftModel,
    holder: nn.ModuleDict,
    base: list[nn.Parameter],
    before: dict[str, Tensor],
    x: Tensor,
    expected: Tensor,
) -> str:
    """Return what a trained adapter would do to the base; empty if it keeps it."""
    trained = [p for p in holder.parameters() if p.requires_grad]
    if not trained:
        return "it trains nothing"
    if any(p.requires_grad for p in base):
        return "it trains parameters of the base itself"
    with torch.no_grad():
        for parameter in trained:
            parameter.add_(0.02 * torch.randn_like(parameter))
        if torch.equal(holder["probe"](x), expected):
            return "it has no effect"
        with model.disable_adapter():
            if not torch.equal(holder["probe"](x), expected):
                return "switching it off does not give the base back"
        model.base_model.unload()
    after = holder.state_dict()
    if set(after) != set(before) or any(not torch.equal(after[name], value) for name, value in before.items()):
        return "taking it out leaves other weights than the base's"
    return ""


def _changed(config: PeftConfig) -> str:
    """Return the options that are not at their defaults, for messages."""
    values, plain = config_to_plain(config) or {}, {}
    with suppress(TypeError, ValueError):  # a config that has no defaults
        plain = config_to_plain(type(config)()) or {}
    skipped = ("peft_type", "target_modules", "exclude_modules", "peft_version")
    options = [f"{k}: {v}" for k, v in values.items() if k not in skipped and v != plain.get(k)]
    return ", ".join(options) or "its defaults"
