"""A sample of the campaign, another one each day: `make campaign` runs all of it."""

from __future__ import annotations

import pytest

from tests.security import campaign

SAMPLES = {"configs": 8, "files": 4, "bases": 2, "sources": 3, "inputs": 10}


def chosen():
    return [
        (part, name)
        for part, number in SAMPLES.items()
        for name in campaign.sample(campaign.PARTS[part].cases(), number)
    ]


@pytest.mark.parametrize(("part", "name"), chosen(), ids=lambda value: value)
def test_no_harm_is_done(part, name):
    room = campaign.PARTS[part]
    case = room.cases()[name][1]
    end = campaign.run_case(room, case, seconds=180.0)  # beside other tests
    assert not campaign.harm_of(room, end, case), end.said[-2000:]


@pytest.mark.parametrize(
    ("part", "number", "kinds"),
    [("configs", 120, 12), ("files", 60, 7), ("bases", 30, 1), ("sources", 80, 5), ("inputs", 250, 12)],
)
def test_there_are_enough_cases(part, number, kinds):
    cases = campaign.PARTS[part].cases()
    assert len(cases) >= number
    assert len({kind for kind, _ in cases.values()}) >= kinds


def test_harm_is_seen(tmp_path):
    """The sandbox sees what it is there to see: without it, no case could fail."""
    evil = (
        "import os, socket\nos.system('true')\nopen('../canaries/x', 'w')\nsocket.create_connection(('127.0.0.1', 9))\n"
    )
    room = tmp_path / "room"
    room.mkdir()
    (room / "evil.py").write_text(evil)
    end = campaign.watched(["fit", "--config", "demo.yaml", "--extensions=[evil.py]", "--trust-config"], tmp_path)
    events = {line.partition(":")[0] for line in end.seen}
    assert {"os.system", "open", "socket.connect"} <= events
