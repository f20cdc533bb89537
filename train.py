"""The command line: `python train.py fit --config demo.yaml`, also installed as `memcontrol`."""

from __future__ import annotations

import callbacks  # noqa: F401 - so that short class names in configs resolve
from memcontrol.cli import main

__all__ = ["run"]


def run() -> None:
    """Run a command; a console script's value would become its exit code."""
    main()


if __name__ == "__main__":
    run()
