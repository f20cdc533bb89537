"""What arrives at a server of Weights & Biases, which stands in for theirs on the loopback."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from memcontrol.loggers import HARMLESS, SILENT

CANARIES = ("canaryargument", "canaryconsole", "canaryprompt", "canarypath", "canaryerror", "canarylabel")

SENDER = """
import json, sys
from pathlib import Path
from memcontrol.loggers import PrivateWandbLogger

folder, settings = Path(sys.argv[1]), json.loads(sys.argv[2])
print("canaryconsole", flush=True)
logger = PrivateWandbLogger(save_dir=str(folder), offline=False, settings=settings)
logger.log_hyperparams({"lr": 0.125, "prompts": ["canaryprompt"], "model": {"base": "/canarypath", "size": 64}})
logger.log_metrics({"train/loss": 0.375, "quality/kid/canarylabel": 1.0, "note": "canaryprompt"}, step=1)
(folder / "canarypath.txt").write_text("canaryprompt")
raise RuntimeError("canaryerror")
"""

LOUD = {
    "console": "wrap",
    "disable_code": False,
    "disable_git": False,
    "disable_job_creation": False,
    "host": "canarypath",
    "program": "canarypath",
    "program_abspath": "/canarypath",
    "program_relpath": "canarypath",
    "save_code": True,
    "x_disable_machine_info": False,
    "x_disable_meta": False,
    "x_disable_stats": False,
    "x_save_requirements": True,
}
CHATTY = {
    "entity": "ward",
    "init_timeout": 60.0,
    "login_timeout": 60.0,
    "quiet": False,
    "reinit": "create_new",
    "resume": "allow",
    "show_errors": True,
    "show_info": True,
    "show_warnings": True,
    "silent": False,
    "x_file_stream_timeout_seconds": 60.0,
    "x_graphql_timeout_seconds": 60.0,
    "x_service_wait": 60.0,
}


def answer(query, variables, address):
    """Return what their server would say to a query, as far as a run needs it."""
    if "mutation CreateRunFiles" in query:
        files = [{"name": name, "uploadUrl": f"{address}/upload/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": "cnVu", "uploadHeaders": [], "files": files}}
    if "mutation UpsertBucket" in query:
        project = {"id": "cA==", "name": "memcontrol", "entity": {"id": "ZQ==", "name": "ward"}}
        names = {"id": "cnVu", "name": "run1", "displayName": "run1", "description": "", "config": "{}"}
        bucket = names | {"sweepName": None, "project": project, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    viewer = {"id": "dQ==", "entity": "ward", "username": "jo", "email": "jo@ward.example", "flags": "{}"}
    teams = {"teams": {"edges": [{"node": {"id": "ZQ==", "name": "ward"}}]}}
    server = {"cliVersionInfo": {"max_cli_version": "99.0.0"}, "latestLocalVersionInfo": None, "features": []}
    return {"viewer": viewer | teams, "serverInfo": server, "project": None, "model": None, "entity": None}


class Tracker(BaseHTTPRequestHandler):
    """Writes down whatever it is sent."""

    def do_POST(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.headers.get("Content-Encoding") == "gzip":
            sent = gzip.decompress(sent)
        heads = str(self.headers).encode()
        self.server.arrived.append(b"\n".join([self.path.encode(), heads, sent]))
        asked = json.loads(sent) if self.path.endswith("graphql") else {}
        address = f"http://127.0.0.1:{self.server.server_port}"
        said = json.dumps({"data": answer(asked["query"], asked.get("variables"), address)} if asked else {}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    do_GET = do_PUT = do_POST  # noqa: N815 - the names of http.server

    def log_message(self, *args):
        """Nothing on the terminal."""


@pytest.fixture
def tracker():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Tracker)
    server.arrived = []
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()


def send(tracker, program, folder, *args):
    """Run a program whose tracker is ours, and return everything that arrived."""
    address = f"http://127.0.0.1:{tracker.server_port}"
    clean = {key: value for key, value in os.environ.items() if not key.startswith("WANDB_")}  # of other tests' runs
    env = clean | {"WANDB_BASE_URL": address, "WANDB_API_KEY": "0" * 40, "WANDB_MODE": "online"}
    command = [sys.executable, "-c", program, str(folder), *args, "canaryargument"]
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert "canaryconsole" in done.stdout, done.stderr[-2000:]
    return b"\n".join(tracker.arrived), done.stderr


PUBLIC = """
import sys, wandb
with wandb.init(dir=sys.argv[1], project="memcontrol") as run:
    print("canaryconsole", flush=True)
    run.log({"train/loss": 0.375})
"""


def test_everything_arrives_where_nothing_is_held_back(tmp_path, tracker):
    """Else the next test could not fail."""
    arrived, stderr = send(tracker, PUBLIC, tmp_path)
    assert b"canaryconsole" in arrived, stderr[-2000:]
    assert b"canaryargument" in arrived
    assert b"0.375" in arrived
    assert b"/otel/" in arrived


@pytest.mark.whole
@pytest.mark.parametrize("settings", [{}, LOUD | CHATTY], ids=["plain", "loud"])
def test_numbers_alone_arrive(tmp_path, tracker, settings):
    folder = tmp_path / "canarypath"
    folder.mkdir()
    arrived, stderr = send(tracker, SENDER, folder, json.dumps(settings))
    assert "canaryerror" in stderr
    assert b"0.375" in arrived, stderr[-2000:]
    assert b"0.125" in arrived
    assert not [word for word in CANARIES if word.encode() in arrived]
    assert b"/otel/" not in arrived  # wandb's own errors and timings


def test_every_setting_that_a_config_may_give_is_tried():
    assert set(LOUD) == set(SILENT)
    assert set(CHATTY) == set(HARMLESS)
