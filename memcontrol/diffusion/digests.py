"""Digests of weights, by which caches and checkpoints know what they belong to."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["fingerprint", "weights_digest"]


def weights_digest(module: nn.Module, **facts: Any) -> str:
    """Return the SHA-256 over every weight of a module and further facts, as hex."""
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for name, tensor in module.state_dict().items():
        digest.update(name.encode())
        digest.update(_bytes_of(tensor))
    return digest.hexdigest()


def fingerprint(module: nn.Module) -> str:
    """Return sixteen hex digits over the first values of every weight: cheap at any size."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(f"{name} {tuple(tensor.shape)}".encode())
        digest.update(_bytes_of(tensor.flatten()[:32]))
    return digest.hexdigest()[:16]


def _bytes_of(tensor: Tensor) -> bytes:
    flat = tensor.detach().cpu().contiguous().flatten()
    return flat.view(torch.uint8).numpy().tobytes()
