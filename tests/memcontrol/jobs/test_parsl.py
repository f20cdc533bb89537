"""Trials on other machines: the same study through Parsl, on this machine and on two hosts made of namespaces."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import psutil
import pytest

from memcontrol.cli import main
from memcontrol.errors import SearchError
from memcontrol.files.journal import Journal
from memcontrol.jobs.slurm import SlurmWorkers
from memcontrol.search.records import TrialState
from memcontrol.trusted import trusting
from tests.conf import wait_until
from tests.memcontrol.search.conf import arguments, trials

pytest.importorskip("parsl")


def study(folder, count, provider, **options):
    """Return the arguments of a study whose proposals do not depend on the order of results, run by Parsl."""
    init = {"run_dir": str(folder / "parsl"), "strategy": "none", "executor": {
        "class_path": "parsl.executors.HighThroughputExecutor",
        "init_args": {"provider": provider, "heartbeat_period": 2, "heartbeat_threshold": 10, **options},
    }}  # fmt: skip
    workers = json.dumps({"class_path": "memcontrol.jobs.parsl.ParslWorkers", "init_args": init})
    return [
        *arguments(folder, count),
        "--search.optimizer=RandomSearch",
        "--search.workers=2",
        f"--search.executor={workers}",
        "--trust-config",
    ]


def start(args):
    return subprocess.Popen(
        [sys.executable, "train.py", *args],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        env={**os.environ, "PYTHONPATH": os.getcwd()},  # of workers too: another package may bring its own `tests`
    )


@contextlib.contextmanager
def running(args):
    """Start a study, and leave none of its processes behind."""
    process = start(args)
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def working(folder):
    """Return the processes that hold the lock of a trial: workers in the middle of one."""
    locks = [str(path) for path in (folder / "study" / "trials").glob("*/trial.lock")]
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            if {file.path for file in process.open_files()} & set(locks):
                found.append(process)
    return found


def check(folder, count):
    """Check that each trial was finished once, and that a calm study proposes the same set."""
    found = trials(folder)
    assert [t.state for t in found] == [TrialState.COMPLETE] * count
    events = Counter(e["event"] for e in Journal(folder / "study" / "journal.jsonl").events())
    assert events["ask"] == events["finish"] == count
    main([*arguments(folder / "calm", count), "--search.optimizer=RandomSearch"])
    assert {t.digest for t in found} == {t.digest for t in trials(folder / "calm")}


@pytest.mark.slow
def test_parsl_runs_the_same_study_though_a_worker_is_killed(tmp_path):
    provider = {"class_path": "parsl.providers.LocalProvider", "init_args": {"max_blocks": 1}}
    with running(study(tmp_path, 3, provider, max_workers_per_node=2, address="127.0.0.1")) as process:
        wait_until(lambda: working(tmp_path))
        working(tmp_path)[0].kill()
        assert process.wait(300) == 0
    check(tmp_path, 3)
    attempts = [e["attempts"] for e in Journal(tmp_path / "study" / "journal.jsonl").events() if e["event"] == "finish"]
    assert sorted(attempts) == [1, 1, 2]


@pytest.mark.slow
def test_study_on_parsl_goes_on_after_its_controller_died(tmp_path):
    provider = {"class_path": "parsl.providers.LocalProvider", "init_args": {"max_blocks": 1}}
    args = study(tmp_path, 3, provider, max_workers_per_node=2, address="127.0.0.1")
    process = start(args)
    wait_until(lambda: working(tmp_path))
    process.kill()
    process.wait()
    assert start(args).wait(300) == 0
    check(tmp_path, 3)


HOSTS = """
set -e
for n in 1 2; do
  ip netns add {name}$n
  ip link add {name}$n type veth peer name eth0 netns {name}$n
  ip addr add 10.77.$n.1/24 dev {name}$n
  ip link set {name}$n up
  ip -n {name}$n addr add 10.77.$n.2/24 dev eth0
  ip -n {name}$n link set eth0 up
  ip -n {name}$n link set lo up
  ip -n {name}$n route add default via 10.77.$n.1
done
"""


@pytest.fixture
def hosts(tmp_path):
    """Two network namespaces that see each other through this one only; gives a command that runs on the next."""
    if os.geteuid() or shutil.which("ip") is None:
        pytest.skip("network namespaces need root and iproute2")
    name = "mctest"
    try:
        made = subprocess.run(["sh", "-c", HOSTS.format(name=name)], capture_output=True, text=True, check=False)
        if made.returncode:
            pytest.skip(f"this machine permits no network namespaces: {made.stderr}")
        script = tmp_path / "on-host.sh"
        script.write_text(
            f'for n in 1 2; do mkdir {tmp_path}/host$n 2>/dev/null && exec ip netns exec {name}$n "$@"; done'
        )
        yield f"sh {script}"
    finally:
        for n in (1, 2):
            subprocess.run(["ip", "netns", "del", f"{name}{n}"], capture_output=True, check=False)


@pytest.mark.slow
def test_parsl_runs_the_same_study_on_two_hosts(tmp_path, hosts):
    launcher = {"class_path": "parsl.launchers.WrappedLauncher", "init_args": {"prepend": hosts}}
    blocks = {"init_blocks": 2, "min_blocks": 2, "max_blocks": 2, "launcher": launcher}
    provider = {"class_path": "parsl.providers.LocalProvider", "init_args": blocks}
    options = {"max_workers_per_node": 1, "address": "10.77.1.1", "loopback_address": "0.0.0.0"}
    with running(study(tmp_path, 4, provider, **options)) as process:
        wait_until(lambda: len(working(tmp_path)) == 2)
        seen = {Path(f"/proc/{worker.pid}/ns/net").readlink() for worker in working(tmp_path)}
        assert len(seen | {Path("/proc/self/ns/net").readlink()}) == 3  # two hosts, neither of them this one
        working(tmp_path)[0].kill()
        assert process.wait(300) == 0
    check(tmp_path, 4)


def test_parsl_s_own_classes_need_trust(tmp_path, capsys):
    args = study(tmp_path, 1, {"class_path": "parsl.providers.LocalProvider"})
    with pytest.raises(SystemExit):
        main([arg for arg in args if arg != "--trust-config"])
    said = capsys.readouterr().err
    assert "`search.executor` names 'memcontrol.jobs.parsl.ParslWorkers'" in said
    assert "add `--trust-config`" in said


def test_slurm_needs_no_trust_but_for_other_commands():
    with trusting(False):
        workers = SlurmWorkers("gpu", setup=["module load cuda/12.4", "export NCCL_DEBUG=INFO"], trials_per_job=2)
        for line in ("rm -rf /", "module load x; id", "export LD_PRELOAD=x.so", "source bin/activate"):
            with pytest.raises(SearchError, match="add `--trust-config`"):
                SlurmWorkers(setup=[line])
    for options in ({"partition": "gpu\nid"}, {"time": "1"}, {"jobs": 0}, {"qos": "a b"}):
        with pytest.raises(SearchError):
            SlurmWorkers(**options)
    executor = workers.make().executor
    provider = executor.provider
    assert provider.worker_init.splitlines()[:2] == workers.setup
    assert executor.available_accelerators == ["0", "1"]


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("sinfo") is None, reason="needs SLURM")
def test_trials_are_slurm_jobs(tmp_path):
    """The shipped overlay with this cluster's partition, and no trust."""
    cluster = ["--search.executor.partition=cpu", "--search.executor.gpus_per_trial=0", "--search.executor.jobs=1"]
    share = ["--search.executor.trials_per_job=1", "--search.executor.cpus_per_trial=1"]
    args = [*arguments(tmp_path, 2, "--search.optimizer=RandomSearch"), "--config=search/slurm.yaml", *cluster, *share]
    args += [f"--search.executor.run_dir={tmp_path / 'parsl'}", "--search.workers=1", "--search.threads=1"]
    args += [a for a in arguments(tmp_path, 2) if a.startswith("--search.study")]
    with running(args) as process:
        assert process.wait(400) == 0
    check(tmp_path, 2)
