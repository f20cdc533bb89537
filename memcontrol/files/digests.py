"""Digests, by which caches, checkpoints and evidence know what they belong to.

Options are hashed by what differs from their defaults, by name: an option that a later version adds leaves the digest
of a config that does not use it as it was.
"""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["changes_of", "digest_of", "fingerprint", "tensor_digest", "update_with_weights", "weights_digest"]


def digest_of(*parts: Any) -> str:
    """Return sixteen hex digits over plain values, and over options by what differs from their defaults.

    Example:
        >>> digest_of({"a": 1, "b": 2}) == digest_of({"b": 2, "a": 1})
        True
    """
    text = json.dumps([changes_of(part) for part in parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def changes_of(value: Any) -> Any:
    """Return plain values as they are, and an object as its class and those options that differ from its defaults.

    Args:
        value: Plain values, or an object whose constructor's parameters are its attributes: a dataclass, an encoder.
            Its `changes_nothing` names options that results do not depend on, such as a device.
    """
    if isinstance(value, Mapping):
        return {str(key): changes_of(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [changes_of(item) for item in value]
    if value is None or isinstance(value, str | int | float | bool):
        return value
    if isinstance(value, nn.Module):
        return weights_digest(value)
    defaults = _defaults_of(type(value))
    left_out = getattr(value, "changes_nothing", ())
    own = {name: getattr(value, name) for name in defaults if hasattr(value, name) and name not in left_out}
    changed = {name: item for name, item in own.items() if changes_of(item) != changes_of(defaults[name])}
    return {"class": type(value).__qualname__, **{name: changes_of(item) for name, item in changed.items()}}


def _defaults_of(kind: type) -> dict[str, Any]:
    if dataclasses.is_dataclass(kind):
        return {
            field.name: field.default_factory() if callable(field.default_factory) else _plain(field.default)
            for field in dataclasses.fields(kind)
        }
    parameters = inspect.signature(kind).parameters.values()
    return {p.name: _plain(p.default) for p in parameters if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)}


def _plain(default: Any) -> Any:
    """Return a default, or a text that nothing equals where there is none."""
    return "<none>" if default in (inspect.Parameter.empty, dataclasses.MISSING) else default


def weights_digest(module: nn.Module, **facts: Any) -> str:
    """Return the SHA-256 over every weight of a module and further facts, as hex."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    update_with_weights(digest, module)
    return digest.hexdigest()


def update_with_weights(digest: Any, module: nn.Module) -> None:
    """Add names and values of all weights of a module to a hash."""
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes_of(tensor))


def fingerprint(module: nn.Module) -> str:
    """Return sixteen hex digits over the first values of every weight: cheap at any size."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(_bytes_of(tensor.flatten()[:32]))
    return digest.hexdigest()[:16]


def tensor_digest(tensor: Tensor) -> str:
    """Return 32 hex digits over type, shape and values of a tensor."""
    digest = hashlib.sha256(f"{tensor.dtype} {tuple(tensor.shape)}".encode())
    digest.update(_bytes_of(tensor))
    return digest.hexdigest()[:32]


def _bytes_of(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes()
