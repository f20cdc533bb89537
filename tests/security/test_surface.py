"""Where a config could put anything: parameters without a type, of any type, or that take functions or classes.

They were looked at one by one, and none of them does more than keep what it gets. A new version of a dependency that
adds one fails here: look at it, and add it to `surface.txt`, or take its class out of `memcontrol/cli/trust.py`.
"""

from __future__ import annotations

import collections.abc
import inspect
import typing
from pathlib import Path

import pytest
from jsonargparse._parameter_resolvers import get_signature_parameters

from memcontrol.cli.trainer import COMMANDS, MemControlTrainer
from memcontrol.cli.trust import allowed_classes

KNOWN = set(Path(__file__).with_name("surface.txt").read_text().split())


def takes_anything(hint):
    origin = typing.get_origin(hint)
    if hint in (inspect.Parameter.empty, typing.Any, object, dict, list, tuple, set, type, typing.Callable):
        return True
    if collections.abc.Callable in (hint, origin) or origin is type:
        return True
    return any(takes_anything(each) for each in typing.get_args(hint) if each is not Ellipsis)


def surface():
    """Return the name of each such parameter of the classes and commands that a config can reach."""
    found = set()
    for kind in [*allowed_classes(), MemControlTrainer]:
        found |= {
            f"{kind.__name__}.{p.name}" for p in get_signature_parameters(kind, None) if takes_anything(p.annotation)
        }
    for name, command in COMMANDS.items():
        parameters = get_signature_parameters(MemControlTrainer, name)
        filled = command.filled
        found |= {f"{name}.{p.name}" for p in parameters if p.name not in filled and takes_anything(p.annotation)}
    return found


def test_nothing_new_takes_anything():
    assert surface() - KNOWN == set()


def test_the_list_holds_nothing_that_is_gone():
    assert KNOWN - surface() == set()


@pytest.mark.parametrize(
    "hint", [typing.Any, dict, typing.Callable, type[int], inspect.Parameter.empty, int | typing.Any]
)
def test_it_is_seen(hint):
    assert takes_anything(hint)
