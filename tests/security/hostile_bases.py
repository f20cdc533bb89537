"""Bases in one file, as model sites hand them over, with a folder of configs beside. Like `hostile_files`."""

from __future__ import annotations

import atexit
import functools
import json
import os
import shutil
import struct
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from memcontrol.diffusion.bases import load_components
from tests.memcontrol.bases import make_base
from tests.memcontrol.original import write_single_file
from tests.security import hostile_files
from tests.security.hostile_configs import write_pickle
from tests.security.hostile_files import DRAW, REMOTE, Spoil, folder, half, harm, in_json, link, pipe, text

__all__ = ["cases", "harm", "lay_out"]

ONE_AT_A_TIME = threading.Lock()
FILE, UNET, TEXT = "site.safetensors", "site/unet/config.json", "site/text_encoder/config.json"


@functools.cache
def _made() -> Path:
    room = Path(tempfile.mkdtemp(prefix="campaign-base-"))
    atexit.register(shutil.rmtree, room)
    write_single_file(load_components(str(make_base("sd15", room / "base"))), room / FILE)
    return room


def lay_good(room: Path, kind: str) -> list[str]:
    """Write a good file with configs beside it, and return the command that draws with it."""
    with ONE_AT_A_TIME:  # what builds models is not made for threads
        made = _made()
    shutil.copy(made / FILE, room / FILE)
    shutil.copytree(made / "base", room / "site", ignore=shutil.ignore_patterns("*.safetensors"))
    return [*DRAW, f"--base={FILE}"]


def weights(change: Callable[[dict[str, torch.Tensor]], Any]) -> Spoil:
    """Change the tensors of the file."""

    def spoil(room: Path, *_: Any) -> None:
        found = load_file(room / FILE)
        change(found)
        save_file(found, room / FILE)

    return spoil


def header(**entries: Any) -> Spoil:
    """Put another header into the file, that does not fit what follows."""
    said = json.dumps(entries).encode()
    return text(FILE, struct.pack("<Q", len(said)) + said + b"\0" * 8)


def pickled(room: Path, canaries: Path, command: str) -> None:
    """Put a pickle into the place of the file."""
    (room / FILE).unlink()
    write_pickle(room / FILE, command)


KINDS: dict[str, dict[str, Spoil]] = {
    "single file": {
        "empty": text(FILE, b""),
        "text": text(FILE, "hello"),
        "half of it": half(FILE),
        "a pickle under this name": pickled,
        "a header without end": text(FILE, struct.pack("<Q", 1 << 62)),
        "a header of 100 MB": text(FILE, struct.pack("<Q", 100_000_000) + b"{" * 100_000_000),
        "a tensor of petabytes": header(x={"dtype": "F32", "shape": [1 << 40, 1 << 10], "data_offsets": [0, 8]}),
        "a tensor of less than nothing": header(x={"dtype": "F32", "shape": [-1], "data_offsets": [8, 0]}),
        "another tensor": header(x={"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}),
        "a dtype": header(x={"dtype": "evil", "shape": [2], "data_offsets": [0, 8]}),
        "NaN": weights(lambda found: found.update({k: v * float("nan") for k, v in found.items() if v.ndim > 1})),
        "a tensor called state_dict": weights(lambda found: found.update(state_dict=torch.ones(1))),
        "weights of one dimension": weights(
            lambda found: found.update({"model.diffusion_model.input_blocks.0.0.weight": torch.ones(4)})
        ),
        "groups of nothing": in_json(UNET, norm_num_groups=0),
        "a size of halves": in_json(UNET, sample_size=8.5),
        "no size": in_json(UNET, sample_size=None),
        "a tensor less": weights(lambda found: found.pop("model.diffusion_model.out.2.weight")),
        "shapes of another": weights(lambda found: found.update({"model.diffusion_model.out.2.bias": torch.ones(5)})),
        "a name that leads out": weights(lambda found: found.update({"model.diffusion_model.../../x": torch.ones(1)})),
        "a pipe": pipe(FILE),
        "a folder": folder(FILE),
        "a link to a secret": link(FILE),
        "a device": lambda room, *_: ((room / FILE).unlink(), os.symlink("/dev/zero", room / FILE)),
        "class of the U-Net": in_json(UNET, _class_name="evil.X"),
        "blocks of the U-Net": in_json(UNET, down_block_types=["evil.X"] * 4),
        "channels without end": in_json(UNET, block_out_channels=[1 << 20] * 4),
        "a size of three": in_json(UNET, sample_size=[8, 8, 8]),
        "a size of text": in_json(UNET, sample_size="x"),
        "remote code of the text encoder": in_json(TEXT, auto_map=REMOTE, architectures=["evil.X"]),
        "layers of the text encoder": in_json(TEXT, num_hidden_layers=10**8),
        "remote code of the tokenizer": in_json(
            "site/tokenizer/tokenizer_config.json", tokenizer_class="evil.X", auto_map=REMOTE
        ),
        "a pipeline of its own": in_json("site/model_index.json", _class_name=["pipeline", "X"], unet=["evil", "X"]),
        "configs that are a pipe": pipe(UNET),
        "configs that are a link": link(UNET),
    },
}


def cases() -> dict[str, tuple[str, Any]]:
    """Return all cases, see `hostile_files`."""
    return hostile_files.cases(KINDS)


def lay_out(case: Any, room: Path, canaries: Path, port: int) -> list[str]:
    """Write the files of a case, and return the arguments of its command."""
    return hostile_files.lay_out(case, room, canaries, port, lay_good)
