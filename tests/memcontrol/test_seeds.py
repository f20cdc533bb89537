"""A scoped seed decides what is drawn inside, and nothing outside."""

from __future__ import annotations

from contextlib import suppress

import torch

from memcontrol.seeds import scoped_seed


def inside(*parts):
    with scoped_seed(*parts):
        return torch.rand(4).tolist()


def test_same_parts_draw_the_same():
    first = inside(1, "a")
    torch.rand(3)
    assert inside(1, "a") == first
    assert len({tuple(inside(*parts)) for parts in ((1, "a"), (2, "a"), (1, "b"), (1, "a", 0))}) == 4


def test_outside_is_undisturbed():
    torch.manual_seed(5)
    expected = torch.rand(6).tolist()
    torch.manual_seed(5)
    drawn = torch.rand(3).tolist()
    inside(1)
    assert drawn + torch.rand(3).tolist() == expected


def test_outside_is_restored_after_an_error():
    torch.manual_seed(5)
    expected = torch.rand(3).tolist()
    torch.manual_seed(5)
    with suppress(ValueError), scoped_seed(1):
        torch.rand(2)
        raise ValueError
    assert torch.rand(3).tolist() == expected
