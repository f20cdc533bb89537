"""CUDA errors after which a process is of no more use: its context fails whatever it is asked next."""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO

import torch

__all__ = ["dying_of_cuda_errors", "is_out_of_memory", "is_sticky"]


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether memory ran out, after which a process may go on."""
    return isinstance(error, torch.OutOfMemoryError) or "out of memory" in str(error).lower()


def is_sticky(error: BaseException | None) -> bool:
    """Tell whether an error is, or comes from, one of CUDA other than that memory ran out."""
    while error is not None:
        is_cuda = isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error)
        if is_cuda and not is_out_of_memory(error):
            return True
        error = error.__cause__ or error.__context__
    return False


@contextmanager
def dying_of_cuda_errors(log: IO[str]) -> Iterator[None]:
    """End this process at such an error, once its text is in a log: a pool then starts another one in its place."""
    try:
        yield
    except BaseException as error:
        if not is_sticky(error):
            raise
        traceback.print_exc(file=log)
        log.flush()
        print("A CUDA error ends this process.", file=sys.stderr, flush=True)
        os._exit(1)
