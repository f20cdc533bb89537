"""What libraries say that a user of memcontrol can do nothing about is left out, so that what we say stands out."""

from __future__ import annotations

import logging
import re
import warnings
from typing import Final

__all__ = ["quieten"]

SAID: Final[dict[str, tuple[str, ...]]] = {
    "lightning.pytorch.utilities.rank_zero": (
        r".*litlogger",
        r".*litmodels",
        r"GPU available: False",
        r"TPU available",
        r"HPU available",
    ),
    "lightning.fabric.utilities.seed": (r"(\[rank: \d+\] )?Seed set to",),
    "lightning.pytorch.trainer.connectors.checkpoint_connector": (r"`weights_only` was not set",),
    "lightning.pytorch.accelerators.cuda": (r".*float32_matmul_precision",),
    "diffusers.models.modeling_utils": (r".*should be kept in float32: \[\]",),
    "diffusers.pipelines.pipeline_utils": (r".*safety checker", r"Keyword arguments .* are not expected"),
    "pydicom.pixels.decoders.base": (r"",),  # pages of text on a picture that we say is unreadable
    "transformers.tokenization_utils_base": (r"Token indices sequence length is longer",),
}
"""Patterns of log lines, by logger: advertisements, empty lists, and what we say ourselves in other words."""
WARNED: Final = (
    r".*`srun` command is available on your system but is not used",  # jobs are started by the search itself
    r".*isinstance\(treespec, LeafSpec\)` is deprecated",
    r".*module\(s\) in eval mode at the start of training",  # the frozen ends
    r".*does not have many workers which may be a bottleneck",  # encoded images come from the cache
    r".*The number of training batches .* is smaller than the logging interval",
    r".*Checkpoint directory .* exists and is not empty",  # a resumed run
    r".*resource_tracker: There appear to be \d+ leaked",
    r".*lr_scheduler\.step\(\)` before `optimizer\.step\(\)",  # a scaler of half precision has left out a step
)
"""Patterns of warnings."""


class _Filter(logging.Filter):
    """Drops lines that begin as one of some patterns."""

    def __init__(self, patterns: tuple[str, ...]) -> None:
        super().__init__()
        self.pattern = re.compile("|".join(patterns), re.S)

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is shown."""
        return self.pattern.match(record.getMessage()) is None


def quieten() -> None:
    """Leave such lines out from now on in this process."""
    for name, patterns in SAID.items():
        logger = logging.getLogger(name)
        logger.filters = [f for f in logger.filters if not isinstance(f, _Filter)]
        logger.addFilter(_Filter(patterns))
    for pattern in WARNED:
        warnings.filterwarnings("ignore", message=pattern)
    from transformers.utils.logging import disable_progress_bar

    disable_progress_bar()  # of weights that load in a second
