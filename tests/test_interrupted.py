"""Nothing is lost and nothing done twice, however a command is interrupted: it ends as an undisturbed one does."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time

import pytest
import yaml

from tests.interrupted import (
    DATA,
    Command,
    audit,
    audited,
    compare,
    compared,
    disturb,
    finish,
    fit,
    fit_again,
    fitted,
    search,
    searched,
    start,
)

pytestmark = pytest.mark.slow

KILLS = {"fit": 8, "search": 10, "audit": 6, "compare": 6}
SIZES = (0.02, 0.15, 0.3, 0.5, 0.7, 0.85, 0.95)
"""Sizes of the disk that is too small, as shares of what an undisturbed run fills."""


@pytest.fixture(scope="module")
def commands(tmp_path_factory):
    run = tmp_path_factory.mktemp("run")
    audited_run = audit(run / "demo" / "version_0")
    finish([*fit(run), *DATA], run / "fit.log")
    return {
        "fit": Command(fit, fit_again, fitted),
        "search": Command(search, search, searched),
        "compare": Command(compare, compare, compared),
        "audit": Command(audited_run, audited_run, audited),
    }


@pytest.fixture(scope="module")
def calm(commands, tmp_path_factory):
    """What each command leaves when nothing disturbs it, its folder, and how long it takes."""
    found = {}

    def run(name):
        if name not in found:
            folder, begun = tmp_path_factory.mktemp(name) / "calm", time.monotonic()
            finish(commands[name].begin(folder), folder.parent / "calm.log")
            found[name] = (commands[name].result(folder), folder, time.monotonic() - begun)
        return found[name]

    return run


@pytest.mark.parametrize("name", KILLS)
def test_killed_at_random_moments(name, commands, calm, tmp_path):
    expected, _, seconds = calm(name)
    rng, kills, episode = random.Random(name), 0, 0
    while kills < KILLS[name]:
        folder = tmp_path / f"{name}{episode}"
        kills += disturb(commands[name], folder, min(4, KILLS[name] - kills), seconds, rng)
        assert commands[name].result(folder) == expected
        episode += 1


@pytest.fixture
def disk(tmp_path):
    """Mounts disks of given sizes, and makes them larger; gone with the test."""
    folder = tmp_path / "disk"
    folder.mkdir()

    def mount(size, *options):
        command = ["mount", "-t", "tmpfs", "-o", ",".join([f"size={size}", *options]), "tmpfs", folder]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("this machine does not let us mount a small disk")
        return folder

    yield mount
    while os.path.ismount(folder):
        subprocess.run(["umount", "-l", folder], check=True)


@pytest.mark.parametrize("share", SIZES)
@pytest.mark.parametrize("name", KILLS)
def test_a_full_disk(name, share, commands, calm, disk, tmp_path):
    expected, folder, _ = calm(name)
    used = sum(path.stat().st_blocks * 512 for path in folder.rglob("*"))
    small = disk(max(int(share * used), 4096)) / "x"
    log = tmp_path / "log"
    process = start(commands[name].begin(small), log)
    ends = process.wait(300)
    said = "".join(path.read_text() for path in (log, *small.rglob("trial.log")))
    assert ends == (0 if "The study is in" in said else 2)  # a study goes on without trials that failed
    assert "Traceback" not in log.read_text(), log.read_text()[-3000:]
    assert re.search(r"No space left on device|disk is full|the disk has \S+ GiB left", said)
    disk(16 * used, "remount")
    if name == "search":
        finish(commands[name].begin(small), log)  # what failed is asked again in other trials
        assert yaml.safe_load((small / "study" / "study.yaml").read_text())
        return
    finish(commands[name].resume(small), log)
    assert commands[name].result(small) == expected


@pytest.mark.parametrize("name", ["fit", "audit"])
def test_two_processes_on_one_cache(name, commands, calm, tmp_path):
    expected, _, _ = calm(name)
    folders = [tmp_path / "a", tmp_path / "b"]
    cache = f"--data.cache.folder={tmp_path / 'cache'}"
    begun = [start([*commands[name].begin(folder), cache], tmp_path / "log") for folder in folders]
    assert [process.wait(600) for process in begun] == [0, 0], (tmp_path / "log").read_text()[-3000:]
    assert [commands[name].result(folder) for folder in folders] == [expected, expected]
    shutil.rmtree(tmp_path / "cache")
