"""Whether what is run at present is trusted to run code: always in Python, by `--trust-config` on the command line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["is_trusted", "trusting"]

_state = [True]


def is_trusted() -> bool:
    """Whether a file that could run code may be loaded if its owner says so."""
    return _state[-1]


@contextmanager
def trusting(trusts: bool) -> Iterator[None]:
    """Say whether the config that is run inside the block is trusted."""
    _state.append(trusts)
    try:
        yield
    finally:
        _state.pop()
