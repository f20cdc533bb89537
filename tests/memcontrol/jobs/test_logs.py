"""A job's log is its own: what a worker logs afterwards does not go into the closed file."""

from __future__ import annotations

import io
import logging

from memcontrol.jobs.run import _into


def test_no_logger_keeps_a_handler_of_the_file(monkeypatch):
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    file = io.StringIO()
    with _into(file):
        logging.basicConfig(format="%(message)s")  # as the command line does
        logging.getLogger("memcontrol.some.room").warning("said once")
    assert file.getvalue().count("said once") == 1
    assert root.handlers == []
