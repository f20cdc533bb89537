"""What the parser says, in one line of ours: which option, what it was, what is allowed, and the nearest one."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

from memcontrol.cli.trainer import COMMANDS, MemControlTrainer
from memcontrol.cli.trust import allowed_classes

__all__ = ["explained"]

TYPES: Final = {
    "NoneType": "`null`",
    "int": "a whole number",
    "float": "a number",
    "bool": "`true` or `false`",
    "str": "a text",
    "list": "a list",
    "tuple": "a list of them",
}
KEY: Final = re.compile(r'Parser key "([^"]+)"')
DENIED: Final = re.compile(r"Importing '([^']+)' is not allowed")
BARE: Final = re.compile(r"unrecognized arguments: (?!-)(\S*/\S*)")
UNKNOWN: Final = re.compile(r"unrecognized arguments: (?:--)?([^=\n]+?)(?:=.*)?$", re.M)
NOT_ACCEPTED: Final = re.compile(r"Option '([^']+)' is not accepted")
NO_CLASS: Final = re.compile(r"Expected a dot import path string: (.+)$", re.M)
WRONG: Final = re.compile(r"Expected a (typing\.Literal\[.*?\]|<class '[\w.]+'>)\. Got value: (.*)$", re.M)
BROKEN: Final = re.compile(r"Problem with given class_path '([^']+)':\n\s*((?:module|No module)[^\n]*)")
NO_KEY: Final = re.compile(r"does not accept option '([^']+)'")
ANY_OF: Final = re.compile(r"- Expected a (<class '[\w.]+'>)$.*?Given value: ([^\n]*)", re.M | re.S)
NO_CHOICE: Final = re.compile(r"invalid choice: '([^']+)' \(choose from (.*)\)")
BEFORE: Final = ("lightning.LightningModule", "lightning.LightningDataModule")
"""What jsonargparse takes for the class of an option that no config has named a class for."""
UNREADABLE: Final = ("Unexpected config", "Problems parsing config", "codec can't decode")
MOST: Final = 500
TRUST: Final = (
    "Nothing of it was imported: without trust, a config may name the classes that come with memcontrol and a few of "
    "Lightning, PEFT and torchmetrics. If you wrote the config and the code yourself, add `--trust-config`."
)


def explained(text: str, configs: Sequence[str] = ()) -> str:
    """Return a parser's error in one line.

    Args:
        text: The error, of many lines where a value could have had several types.
        configs: The files of the command line, one of which is meant where none of their content could be read.
    """
    key = ".".join(dict.fromkeys(KEY.findall(text)))
    at = f"Argument `{key}`" if key else "The config"
    if any(words in text for words in UNREADABLE):
        return f"One of the configs {list(configs)} is no YAML with names and values: {' '.join(text.split())[:MOST]}."
    if (denied := DENIED.search(text)) and denied[1].startswith(BEFORE):
        return (
            f"Options of `{key or 'model or data'}` stand before the config that says which class they are of. Put "
            "`--config` first, and options behind it."
        )
    if denied:
        return f"{at} names {denied[1]!r}.{_near(denied[1].rpartition('.')[2], _classes())} {TRUST}"
    if option := NO_KEY.search(text) or (None if key else NOT_ACCEPTED.search(text)):
        near = _near(option[1].partition(".")[0], ["model", "data", "trainer", "search", "compare", "options"])
        return f"The config has `{option[1]}`, which is no option.{near}"
    if option := NOT_ACCEPTED.search(text):
        return f"{at} has no option {option[1]!r}.{_near(option[1].rpartition('.')[2], _options())}"
    if bare := BARE.search(text):
        return (
            f"{bare[1]!r} is a value without its option. Write `--ckpt_path {bare[1]}` if it is a run, `--config "
            f"{bare[1]}` if it is a config, or see `--help`."
        )
    if option := UNKNOWN.search(text):
        *outer, last = option[1].split(".")
        return f"There is no option `{'.'.join([*([key] if key else []), *outer, last])}`.{_near(last, _options())}"
    if choice := NO_CHOICE.search(text):
        return f"There is no command {choice[1]!r}.{_near(choice[1], list(COMMANDS))} There are {', '.join(COMMANDS)}."
    if broken := BROKEN.search(text):
        return f"{at} names {broken[1]!r}, which cannot be used: {broken[2].strip()}."
    if wrong := WRONG.search(text):
        return f"{at} must be {_allowed(wrong[1])}, but got {wrong[2].strip()!r}."
    if name := NO_CLASS.search(text):
        return f"{at} is {name[1]!r}, which is no class that is known.{_near(name[1].rpartition('.')[2], _classes())}"
    inner = text[max(0, text.rfind("Subtypes:")) :]  # of types within types, the one that was meant
    if given := ANY_OF.search(inner):
        allowed = re.findall(r"- Expected a (<class '[\w.]+'>)$", inner[: given.start(2)], re.M)
        return f"{at} must be {' or '.join(dict.fromkeys(map(_allowed, allowed)))}, but got {given[2].strip()!r}."
    return " ".join(text.split())[:MOST]


def _allowed(hint: str) -> str:
    if hint.startswith("typing.Literal"):
        return f"one of {list(ast.literal_eval(hint.removeprefix('typing.Literal')))}"
    name = hint.removeprefix("<class '").removesuffix("'>")
    return TYPES.get(name, f"a {name.rpartition('.')[2]}")


def _near(name: str, known: list[str]) -> str:
    known = [other for other in known if other != name]
    found = get_close_matches(name, known, n=1, cutoff=0.6)
    found = [other for other in known if len(name) > 3 and other.startswith(name)][:1] or found
    return f" Do you mean `{found[0]}`?" if found else ""


def _classes() -> list[str]:
    return [kind.__name__ for kind in allowed_classes()]


def _options() -> list[str]:
    kinds = [each for kind in (MemControlTrainer, *allowed_classes()) for each in kind.__mro__]
    makers = [vars(each)["__init__"] for each in kinds if inspect.isfunction(vars(each).get("__init__"))]
    makers += [getattr(MemControlTrainer, name) for name in COMMANDS]
    return sorted({name for maker in makers for name in inspect.signature(maker).parameters})
