"""`python -m memcontrol`, and the installed `memcontrol`."""

from __future__ import annotations

from memcontrol.cli import main

__all__ = ["run"]


def run() -> None:
    """Run a command; a console script's value would become its exit code."""
    main()


if __name__ == "__main__":
    run()
