"""Random numbers that nobody may know: who knows them subtracts the noise, and sees who was in which step.

They come from a key of the system's entropy, not from the run's seed. Each number follows from the key, from what the
run trains on and how, and from the step; so steps that are done again after a kill, to the same bits, have the same
noise, and tell nothing new. The key lies in the run folder (`privacy.key`, for its owner only) until training has
ended; nothing else holds it.
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path
from typing import Final

import numpy as np
import torch
from torch import Tensor

from memcontrol.errors import GuaranteeError
from memcontrol.files.atomic import replacing

__all__ = ["KEY_BYTES", "Secret", "read_key", "write_key"]

KEY_BYTES: Final = 32


class Secret:
    """Random streams of one key.

    Args:
        key: The key, of 32 bytes; by default new.
        context: What the numbers are for: with other data or options, all of them are others.
    """

    def __init__(self, key: bytes | None = None, context: str = "") -> None:
        self.key = secrets.token_bytes(KEY_BYTES) if key is None else key
        self.context = context

    def generator(self, *parts: int | str) -> np.random.Generator:
        """Return a generator of the stream that these parts name; its state has 128 bits, which no search goes through.

        torch's generator on the CPU is no choice here: of a seed it takes 32 bits.
        """
        return np.random.Generator(np.random.Philox(key=self._digest(16, *parts)))

    def normal(self, like: Tensor, *parts: int | str) -> Tensor:
        """Return standard normal numbers in the shape and on the device of a tensor, in single precision.

        On a GPU they are made there, each tensor's from 63 bits of the stream.
        """
        if like.device.type == "cuda":
            on_device = torch.Generator(like.device).manual_seed(self._digest(8, *parts) >> 1)
            return torch.randn(like.shape, generator=on_device, device=like.device)
        drawn = self.generator(*parts).standard_normal(tuple(like.shape), dtype=np.float32)
        return torch.from_numpy(np.asarray(drawn)).to(like.device)

    def _digest(self, size: int, *parts: int | str) -> int:
        text = "\x1f".join(map(str, (self.context, *parts)))
        return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=size, key=self.key).digest(), "little")


def write_key(path: Path, key: bytes) -> None:
    """Write a key for its owner only."""
    with replacing(path) as partial:
        partial.touch(mode=0o600)
        partial.write_bytes(key)


def read_key(path: Path) -> bytes:
    """Read a key.

    Raises:
        GuaranteeError: If there is none, or the file is damaged.
    """
    try:
        key = path.read_bytes()
    except OSError as error:
        raise GuaranteeError(
            f"A private run goes on with the noise that it began with, but its key {path} cannot be read "
            f"({error.strerror}). With another, steps after the checkpoint would be done and given away twice, which "
            "the budget does not hold. A run that has reached its last step has none any more. Start a new run."
        ) from error
    if len(key) != KEY_BYTES:
        raise GuaranteeError(f"The key {path} has {len(key)} bytes instead of {KEY_BYTES}: it is damaged.")
    return key
