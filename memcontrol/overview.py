"""What `memcontrol --help` prints: the commands, read from their source, as importing them takes ten seconds."""

from __future__ import annotations

import ast
from pathlib import Path

__all__ = ["overview"]

SOURCE = Path(__file__).parent / "cli" / "trainer.py"
GROUPS = {
    "Train": ("init", "fit", "validate", "test"),
    "Use": ("predict", "export"),
    "Search": ("search", "study", "steps", "slots"),
    "Audit": ("audit", "plant", "withdraw", "compare"),
}
"""The commands in the order in which one meets them; others follow."""


def overview() -> str:
    """Return the commands with what each does.

    Example:
        >>> "audit" in overview()
        True
    """
    said = _commands()
    groups = {name: [command for command in commands if command in said] for name, commands in GROUPS.items()}
    groups["Other"] = sorted(set(said) - {command for commands in groups.values() for command in commands})
    lines = ["usage: memcontrol COMMAND [--config FILE ...] [--OPTION VALUE ...]", ""]
    for name, commands in groups.items():
        if commands:
            lines += [f"{name}:", *(f"  {command:<10}{said[command]}" for command in commands), ""]
    return "\n".join(
        [
            *lines,
            "memcontrol COMMAND --help lists the options of a command; a config that is not here is looked up among",
            "those that come with memcontrol. Exit codes: 0 done, 1 or 2 an error; of `audit` 0 no leak found,",
            "3 a leak, 4 too little to say.",
        ]
    )


def _commands() -> dict[str, str]:
    """Return the first sentence of each command's documentation, by its name."""
    found = {}
    for node in ast.walk(ast.parse(SOURCE.read_text())):
        if isinstance(node, ast.FunctionDef) and any(map(_is_command, node.decorator_list)):
            found[node.name] = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
    return found


def _is_command(decorator: ast.expr) -> bool:
    called = decorator.func if isinstance(decorator, ast.Call) else decorator
    return isinstance(called, ast.Name) and called.id == "command"
