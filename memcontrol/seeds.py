r"""One seed, many independent streams that do not depend on batches, workers or ranks.

Randomness is counted, not carried: the noise of a training sample is a function of
`(seed, epoch, position)` and the noise of a picture of `(seed, prompt number)`. A resumed run, another
batch size or another number of processes therefore draws the same numbers without any saved state.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

__all__ = ["derive_seed", "generator", "normal_like_seeds", "scoped_seed", "uniform_from_seeds"]


def derive_seed(*parts: int | str) -> int:
    """Mix numbers and names into one seed.

    Args:
        parts: What the stream belongs to, e.g. `(seed, "noise", epoch, position)`.

    Returns:
        A number in [0, 2^63).

    Example:
        >>> derive_seed(0, "noise", 1) == derive_seed(0, "noise", 1)
        True
        >>> derive_seed(0, "noise", 1) == derive_seed(0, "noise", 2)
        False
    """
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: int | str) -> torch.Generator:
    """Return a CPU generator seeded by `derive_seed(*parts)`."""
    return torch.Generator().manual_seed(derive_seed(*parts))


def normal_like_seeds(seeds: Sequence[int] | Tensor, shape: tuple[int, ...], stream: str) -> Tensor:
    """Draw one standard normal tensor per seed.

    Args:
        seeds: One seed per sample, with shape `(B,)`.
        shape: Shape of one sample.
        stream: Name of the stream, so that one seed serves several purposes.

    Returns:
        Noise with shape `(B, *shape)`, on the CPU; row i depends on `seeds[i]` alone.
    """
    numbers = seeds.tolist() if isinstance(seeds, Tensor) else seeds
    return torch.stack([torch.randn(shape, generator=generator(s, stream)) for s in numbers])


def uniform_from_seeds(seeds: Sequence[int] | Tensor, stream: str) -> Tensor:
    """Draw one number in [0, 1) per seed.

    Args:
        seeds: One seed per sample, with shape `(B,)`.
        stream: Name of the stream.

    Returns:
        Numbers with shape `(B,)`, double precision, on the CPU.
    """
    numbers = seeds.tolist() if isinstance(seeds, Tensor) else seeds
    shares = [derive_seed(s, stream) / 2**63 for s in numbers]
    return torch.tensor(shares, dtype=torch.float64)


@contextmanager
def scoped_seed(*parts: int | str) -> Iterator[None]:
    """Seed torch's global streams inside the block and restore them after it."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    with torch.random.fork_rng(devices=devices):
        torch.manual_seed(derive_seed(*parts))
        yield
