"""memcontrol: fine-tune text-to-image diffusion models on private images, and keep them private."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from memcontrol.masks import Mask
    from memcontrol.module import MemControlModule
    from memcontrol.pipeline import load_pipeline

    __version__: str

__all__ = ["Mask", "MemControlModule", "__version__", "load_pipeline"]

_HOMES = {
    "Mask": "memcontrol.masks",
    "MemControlModule": "memcontrol.module",
    "load_pipeline": "memcontrol.pipeline",
}


def __getattr__(name: str) -> Any:
    """Import what is asked for, so that light parts need not wait for heavy ones."""
    if name == "__version__":
        from memcontrol.files.provenance import version_of

        return version_of("memcontrol")
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
