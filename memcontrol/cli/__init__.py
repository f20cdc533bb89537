"""The command line: commands, arguments, and what a config may name."""

from memcontrol.cli.main import MemControlCLI, build, main

__all__ = ["MemControlCLI", "build", "main"]
