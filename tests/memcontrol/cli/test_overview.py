"""What a terminal shows: a short help at once, one bar, and nothing that a user can do nothing about."""

from __future__ import annotations

import logging
import resource
import subprocess
import sys
import warnings

import pytest

from memcontrol.audit.verdict import Verdict, exit_code_of
from memcontrol.cli import main
from memcontrol.cli.quiet import quieten
from memcontrol.cli.trainer import COMMANDS
from memcontrol.overview import overview
from tests.conf import short_run


@pytest.mark.parametrize("args", [[], ["--help"], ["-h"]])
def test_help_is_short_and_costs_no_time(args):
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    done = subprocess.run([sys.executable, "-m", "memcontrol", *args], capture_output=True, text=True, check=True)
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 3
    assert len(done.stdout.splitlines()) < 40
    assert not done.stderr


def test_help_names_every_command_and_no_other():
    named = {line.split()[0] for line in overview().splitlines() if line.startswith("  ")}
    assert named == set(COMMANDS)


class Judged:
    def __init__(self, outcome):
        weak = outcome.startswith("weak ")
        self.verdict = Verdict(outcome.removeprefix("weak "), "", [], {}, 0.4 if weak else 0.1)


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        (["none found"], 0),
        (["weak none found"], 4),
        (["leak"], 3),
        (["too little"], 4),
        (["none found", "leak", "too little"], 3),
    ],
)
def test_scripts_are_told_the_worst(outcomes, code):
    assert exit_code_of(map(Judged, outcomes)) == code


def test_what_libraries_advertise_is_left_out_and_what_matters_is_not(caplog):
    quieten()
    quieten()  # a worker runs many jobs
    logger = logging.getLogger("lightning.pytorch.utilities.rank_zero")
    with caplog.at_level(logging.INFO):
        logger.info("💡 Tip: try installing [litlogger](https://pypi.org/project/litlogger/)")
        logger.info("GPU available: True")
    assert [record.getMessage() for record in caplog.records] == ["GPU available: True"]
    assert len(logger.filters) == 1
    with warnings.catch_warnings(record=True) as seen:
        quieten()
        warnings.warn("The `srun` command is available on your system but is not used. HINT", stacklevel=1)
        warnings.warn("This matters", stacklevel=1)
    assert [str(w.message) for w in seen] == ["This matters"]


def test_one_bar_counts_the_steps_of_the_whole_run(tmp_path, capfd):
    main([*short_run(tmp_path), "--trainer.enable_progress_bar=true"])
    said = capfd.readouterr().err
    assert "training: 100%" in said
    assert "6/6" in said
    assert "loss=" in said
    assert "Epoch" not in said
    for word in ("litlogger", "srun", "Loading weights", "should be kept in float32"):
        assert word not in said, word
