"""Runs a command in a process of its own, which is watched: what it starts, opens, imports, and how it ends.

All processes are forked from one that has imported everything, so that a case costs a second and not the ten of a cold
start.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

GIB = 1 << 30
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload(["memcontrol.__main__", "tests.security.preload"])

STARTS = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn")
SPEAKS = (
    "socket.connect",
    "socket.bind",
    "socket.getaddrinfo",
    "socket.gethostbyname",
    "socket.sendto",
    "urllib.Request",
)
CHANGES = ("os.mkdir", "os.remove", "os.rename", "os.rmdir", "os.symlink", "os.link", "os.chmod", "shutil.rmtree")
KNOWN_COMMANDS = (
    "git rev-parse --show-toplevel",
    "/wandb-core --no-observability --port-filename",
    "uname -p",
    "-c import sys, json; print(",
)
KNOWN_PICKLES = (
    "concurrent.futures.process",
    "memcontrol.jobs.job",
    "collections",
    "builtins.set",
    "numpy",
    "torch",
    "_codecs.encode",
    "copyreg",
    "pandas",
)


@dataclass(frozen=True)
class Outcome:
    """How a command ended.

    Args:
        code: Exit code; None where it had to be killed.
        said: What it wrote to its standard outputs.
        seen: What it did that a config or a file from elsewhere may not make it do.
        seconds: How long it took.
        memory: Bytes that it took beyond those of the process that it was forked from, at most.
    """

    code: int | None
    said: str
    seen: tuple[str, ...]
    seconds: float
    memory: int

    @property
    def kind(self) -> str:
        """`clear`, `accepted`, `traceback` or `hang`."""
        if self.code is None:
            return "hang"
        if "Traceback (most recent call last)" in self.said:
            return "traceback"
        if self.code == 2 and self.error:
            return "clear"
        return "accepted" if self.code == 0 else "traceback"

    @property
    def error(self) -> str:
        """What it said was wrong."""
        _, found, error = self.said.rpartition("\nError: ")
        return error.strip() if found else ""


class _Watch:
    """An audit hook; it notes what it is told not to see."""

    def __init__(self, room: Path, canaries: Path, note: Path) -> None:
        self.room, self.canaries = str(room), str(canaries)
        self.file = os.open(note, os.O_CREAT | os.O_WRONLY | os.O_APPEND)

    def __call__(self, event: str, args: tuple[Any, ...]) -> None:
        if event in STARTS:
            command = " ".join(map(str, args[1])) if len(args) > 1 else str(args)
            if not any(known in command for known in KNOWN_COMMANDS):
                self.note(event, command)
        elif event == "socket.__new__" and args[1] in (2, 10):
            self.note(event, args[1])
        elif event in SPEAKS and not isinstance(args[-1], bytes | str):
            self.note(event, args[-1])
        elif event == "open":
            self.opened(*args[:3])
        elif (event in CHANGES and self.is_outside(args[0])) or (event == "import" and str(args[0]).startswith("evil")):
            self.note(event, args[0])
        elif event == "pickle.find_class" and not f"{args[0]}.{args[1]}".startswith(KNOWN_PICKLES):
            self.note(event, f"{args[0]}.{args[1]}")
        elif event == "ctypes.dlopen" and self.room in str(args[0]):
            self.note(event, args[0])

    def opened(self, path: Any, mode: Any, flags: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        name = os.path.abspath(os.fsdecode(path))
        if name.startswith(self.canaries):
            self.note("open", name)
        elif isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT) and self.is_outside(name):
            self.note("write", name)

    def is_outside(self, path: Any) -> bool:
        if isinstance(path, int):
            return False
        name = os.path.abspath(os.fsdecode(path))
        return not name.startswith((self.room, "/dev/", "/proc/"))

    def note(self, event: str, what: Any) -> None:
        os.write(self.file, f"{event}: {str(what)[:200]}\n".encode())


def _case(args: Sequence[str], room: str, canaries: str, answer: str, environ: dict[str, str], memory: int) -> None:
    """Run a command; the parent reads what is left in files."""
    result = os.open(f"{answer}.end", os.O_CREAT | os.O_WRONLY)
    out = os.open(f"{answer}.out", os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    for stream in (1, 2):
        os.dup2(out, stream)
    os.setpgid(0, 0)
    os.environ.update(environ)
    os.chdir(room)
    tempfile.tempdir = None
    sys.path.insert(0, room)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (size + memory, size + memory))
    sys.dont_write_bytecode = True
    sys.addaudithook(_Watch(Path(room), Path(canaries), Path(f"{answer}.seen")))
    code = 0
    try:
        from memcontrol.cli import main

        sys.argv = ["memcontrol", *args]
        main()
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else int(error.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    taken = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    os.write(result, json.dumps({"code": code, "memory": taken * 1024}).encode())
    os._exit(0)


def watched(
    args: Sequence[str],
    folder: Path,
    seconds: float = 60.0,
    memory: int = 6 * GIB,
    environ: dict[str, str] | None = None,
) -> Outcome:
    """Run a command of memcontrol and see what it does.

    Args:
        args: Its arguments.
        folder: Folder of the case: `room/` is where it runs and may write, `canaries/` what it may neither read nor
            change.
        seconds: Time after which it is killed.
        memory: Bytes of address space that it may take.
        environ: Variables of its environment.
    """
    room, canaries, answer = folder / "room", folder / "canaries", str(folder / "answer")
    for path in (room, canaries):
        path.mkdir(exist_ok=True)
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    cache = str(room / "cache")
    variables = {"HOME": str(canaries), "XDG_CACHE_HOME": cache, "TMPDIR": str(room), **(environ or {})}
    process = SERVER.Process(target=_case, args=(list(args), str(room), str(canaries), answer, variables, memory))
    start = time.monotonic()
    process.start()
    process.join(seconds)
    took = time.monotonic() - start
    hangs = process.is_alive()
    if process.pid is not None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, 9)
    process.join()
    said = Path(f"{answer}.out").read_text(errors="replace") if Path(f"{answer}.out").exists() else ""
    seen = Path(f"{answer}.seen").read_text(errors="replace").splitlines() if Path(f"{answer}.seen").exists() else []
    seen += [f"left: {path.name}" for path in folder.iterdir() if path not in before and "answer." not in path.name]
    end = Path(f"{answer}.end").read_text() if Path(f"{answer}.end").exists() else ""
    if not end:
        code = None if hangs else process.exitcode or 1
        return Outcome(code, said, tuple(dict.fromkeys(seen)), took, 0)
    found = json.loads(end)
    return Outcome(found["code"], said, tuple(dict.fromkeys(seen)), took, found["memory"])
