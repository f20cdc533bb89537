"""`python -m memcontrol`, and the installed `memcontrol`."""

from __future__ import annotations

import sys

__all__ = ["run"]


def run() -> None:
    """Run a command; a console script's value would become its exit code."""
    if sys.argv[1:] in ([], ["-h"], ["--help"]):  # before anything heavy is imported
        from memcontrol.overview import overview

        print(overview())
        return
    from memcontrol.cli import main

    code = main().exit_code
    if code:
        raise SystemExit(code)


if __name__ == "__main__":
    run()
