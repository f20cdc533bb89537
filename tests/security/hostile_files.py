"""Files that somebody else wrote: checkpoints, adapters, bases, images, tables, journals, evidence and masks.

Each kind is a command that reads a good file, and ways to spoil it: functions that get the room, the canaries and a
shell command that leaves a mark. Add a line to `KINDS` to add a case.
"""

from __future__ import annotations

import io
import json
import os
import pickle
import shutil
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from tests.security.hostile_configs import SHORT, write_pickle
from tests.security.sandbox import GIB, Outcome

ROOT = Path(__file__).parents[2]
FIXTURES = ROOT / "tests" / "fixtures" / "v0_1"
EMBEDDED = ROOT / "memcontrol" / "assets" / "phantom-sd"
DRAW = ["predict", "--config", "demo.yaml", "--prompts=[x]", "--sampling.steps=1"]
DATA = """data:
  class_path: memcontrol.data.imagefolder.ImageFolderDataModule
  init_args: {root: images, batch_size: 4, split_fractions: [0.4, 0.3, 0.3], transform: {size: 64}}
"""
Spoil = Callable[[Path, Path, str], Any]


def in_json(name: str, *path: str, **values: Any) -> Spoil:
    """Change values of a JSON file."""

    def spoil(room: Path, canaries: Path, command: str) -> None:
        content = json.loads((room / name).read_text())
        at = content
        for key in path:
            at = at[key]
        at.update(json.loads(json.dumps(values).replace("CANARIES", str(canaries)).replace("EVIL", command)))
        (room / name).write_text(json.dumps(content))

    return spoil


def text(name: str, content: str | bytes) -> Spoil:
    """Write another content."""
    raw = content if isinstance(content, bytes) else content.encode()

    def spoil(room: Path, canaries: Path, command: str) -> None:
        found = raw.replace(b"CANARIES", str(canaries).encode()).replace(b"EVIL", command.encode())
        (room / name).unlink(missing_ok=True)
        (room / name).write_bytes(found)

    return spoil


def half(name: str) -> Spoil:
    """Keep the first half."""
    return lambda room, *_: (room / name).write_bytes((room / name).read_bytes()[: (room / name).stat().st_size // 2])


def pickled(name: str) -> Spoil:
    """Write a pickle that runs a command."""
    return lambda room, canaries, command: write_pickle(room / name, command)


def pipe(name: str) -> Spoil:
    """Put a pipe in its place."""

    def spoil(room: Path, *_: Any) -> None:
        (room / name).unlink(missing_ok=True)
        os.mkfifo(room / name)

    return spoil


def folder(name: str) -> Spoil:
    """Put a folder in its place."""

    def spoil(room: Path, *_: Any) -> None:
        (room / name).unlink(missing_ok=True)
        (room / name).mkdir()

    return spoil


def link(name: str, target: str = "secret.txt") -> Spoil:
    """Put a link to a file of the user's in its place."""

    def spoil(room: Path, canaries: Path, _: str) -> None:
        (room / name).unlink(missing_ok=True)
        (room / name).symlink_to(canaries / target)

    return spoil


def checkpoint(change: Callable[[dict[str, Any]], Any]) -> Spoil:
    """Change what a checkpoint holds."""

    def spoil(room: Path, *_: Any) -> None:
        path = room / "run" / "checkpoints" / "last.ckpt"
        content = torch.load(path, weights_only=True)
        changed = change(content)
        torch.save(content if changed is None else changed, path)

    return spoil


def card(**values: Any) -> Spoil:
    """Change the record in a checkpoint."""
    return checkpoint(lambda content: content["memcontrol"].update(values))


def tensors(name: str, change: Callable[[dict[str, torch.Tensor]], Any]) -> Spoil:
    """Change the tensors of a safetensors file."""

    def spoil(room: Path, *_: Any) -> None:
        found = load_file(room / name)
        change(found)
        save_file({k: v.contiguous() for k, v in found.items()}, room / name)

    return spoil


def first(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, Any]], None]:
    """Change the first of some tensors."""

    def apply(found: dict[str, Any]) -> None:
        name = next(iter(found))
        found[name] = change(found[name])

    return apply


def state(change: Callable[[torch.Tensor], Any]) -> Spoil:
    """Change the first weight of a checkpoint."""
    return checkpoint(lambda content: first(change)(content["state_dict"]))


def image(name: str, make: Callable[[], bytes]) -> Spoil:
    """Put another picture in the place of the first."""
    return lambda room, *_: (room / "images" / name).write_bytes(make())


def png(width: int, height: int) -> bytes:
    """Return a PNG of a few bytes that claims a size."""
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    body = zlib.compress(bytes(1 + width // 8) * min(height, 1000))

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


def encoded(array: np.ndarray, form: str, **options: Any) -> bytes:
    """Return an array as an image file."""
    file = io.BytesIO()
    Image.fromarray(array).save(file, form, **options)
    return file.getvalue()


def table(**columns: Any) -> Spoil:
    """Change columns of the table."""

    def spoil(room: Path, canaries: Path, command: str) -> None:
        found = pd.read_csv(room / "images" / "metadata.csv")
        for name, value in columns.items():
            found.loc[0, name] = str(value).replace("CANARIES", str(canaries)).replace("EVIL", command)
        found.to_csv(room / "images" / "metadata.csv", index=False)

    return spoil


def only(name: str, content: bytes) -> Spoil:
    """Put another kind of table in the place of the CSV."""

    def spoil(room: Path, *_: Any) -> None:
        (room / "images" / "metadata.csv").unlink()
        (room / "images" / name).write_bytes(content)

    return spoil


def archive(**files: bytes) -> bytes:
    """Return a zip archive."""
    found = io.BytesIO()
    with zipfile.ZipFile(found, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name.replace("__", "/").replace("_DOT_", "."), content)
    return found.getvalue()


def line(number: int, /, **values: Any) -> Spoil:
    """Change values of a line of the journal."""

    def spoil(room: Path, *_: Any) -> None:
        path = room / "study" / "journal.jsonl"
        lines = path.read_text().splitlines()
        lines[number] = json.dumps({**json.loads(lines[number]), **values})
        path.write_text("\n".join(lines) + "\n")

    return spoil


def journal(content: str) -> Spoil:
    """Put a line before those of the journal."""
    path = "study/journal.jsonl"
    return lambda room, *_: (room / path).write_text(content + "\n" + (room / path).read_text())


def each(number: int = 10) -> dict[str, Any]:
    """Write a small folder of images: ten patients, two images each."""
    rng = np.random.default_rng(0)
    return {f"{i:02d}.png": rng.integers(0, 255, (64, 64), dtype=np.uint8) for i in range(2 * number)}


def lay_good(room: Path, kind: str) -> list[str]:
    """Write good files of a kind, and return the command that reads them."""
    if kind == "checkpoint":
        shutil.copytree(FIXTURES / "run", room / "run")
        return [*DRAW, "--ckpt_path=run"]
    if kind == "adapter":
        shutil.copytree(FIXTURES / "run" / "adapter", room / "adapter")
        return [*DRAW, "--ckpt_path=adapter"]
    if kind == "base":
        shutil.copytree(EMBEDDED, room / "base")
        return [*DRAW, "--base=base"]
    if kind in ("image", "table"):
        (room / "images").mkdir()
        files = each()
        for name, pixels in files.items():
            Image.fromarray(pixels).save(room / "images" / name)
        rows = [{"file_name": n, "text": f"CXR PA {n}", "subject_id": i // 2} for i, n in enumerate(files)]
        pd.DataFrame(rows).to_csv(room / "images" / "metadata.csv", index=False)
        (room / "data.yaml").write_text(DATA)
        return ["fit", "--config", "demo.yaml", "--config", "data.yaml", *SHORT[4:]]
    if kind == "journal":
        shutil.copytree(FIXTURES / "study", room / "study")
        from tests.memcontrol.search.conf import arguments

        return [*arguments(room, 3, "--search.rescore_factor=2", "--search.study=study")]
    if kind == "evidence":
        shutil.copytree(ROOT / "docs" / "evidence" / "icons", room / "evidence")
        options = ["--data.root=.", "--compare.evidence=evidence", "--compare.report_only=true", "--compare.folder=out"]
        return ["compare", "--config", "compare/icons.yaml", *options]
    (room / "mask.yaml").write_text("mask: [1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0]\n")
    return ["slots", "--config", "demo.yaml", "--model.mask=mask.yaml"]


CKPT, PEFT, CSV = "run/checkpoints/last.ckpt", "adapter/adapter_config.json", "images/metadata.csv"
WEIGHTS, UNET, TEXT = "adapter/adapter_model.safetensors", "base/unet/config.json", "base/text_encoder/config.json"
UNET_WEIGHTS = "base/unet/diffusion_pytorch_model.safetensors"
REMOTE = {"AutoConfig": "evil.X", "AutoModel": "evil.X", "AutoTokenizer": ["evil.X", "evil.X"]}
SHARDS = {"metadata": {}, "weight_map": {"conv_in.weight": "../../../canaries/secret.txt"}}

KINDS: dict[str, dict[str, Spoil]] = {
    "checkpoint": {
        "a pickle": pickled(CKPT),
        "a pickle in a zip": text(CKPT, archive(x__data_DOT_pkl=pickle.dumps(print), x__version=b"3")),
        "half of it": half(CKPT),
        "empty": text(CKPT, ""),
        "text": text(CKPT, "hello"),
        "an empty zip": text(CKPT, archive()),
        "a bomb": text(CKPT, archive(x__data_DOT_pkl=bytes(1 << 28), x__version=b"3")),
        "a list": checkpoint(lambda content: [1]),
        "a tensor": checkpoint(lambda content: torch.zeros(1)),
        "no record": checkpoint(lambda content: content.pop("memcontrol") and None),
        "record that is text": checkpoint(lambda content: content.update(memcontrol="x")),
        "record without a base": checkpoint(lambda content: content["memcontrol"].pop("base") and None),
        "newer record": card(format=99),
        "format that is text": card(format="x"),
        "further field": card(evil=1),
        "base of the hub": card(base="somebody/else"),
        "base at an address": card(base="http://127.0.0.1:9/x"),
        "base that is a device": card(base="/dev/zero"),
        "base elsewhere": card(base="../canaries"),
        "base that is a number": card(base=7),
        "random base of 860 million": card(base="sd15", random_init=True),
        "seed that is text": card(seed="x"),
        "mask that is text": card(mask="x"),
        "mask without bits": card(mask={"layout": "paper13", "names": []}),
        "mask of twos": card(mask={"layout": "paper13", "names": [], "bits": [2] * 13}),
        "unknown layout": card(mask={"layout": "evil", "names": [], "bits": [1]}),
        "adapter of the hub": card(adapter={"peft_type": "XLORA", "hidden_size": 8, "adapters": {"x": "a/b"}}),
        "adapter with a tokenizer": card(
            adapter={
                "peft_type": "PROMPT_TUNING",
                "prompt_tuning_init": "TEXT",
                "prompt_tuning_init_text": "x",
                "num_virtual_tokens": 2,
                "tokenizer_name_or_path": "a/b",
                "tokenizer_kwargs": {"trust_remote_code": True},
            }
        ),
        "adapter with a core": card(adapter={"peft_type": "LORA", "megatron_config": {"a": 1}, "megatron_core": "evil"}),  # noqa: E501
        "unknown adapter": card(adapter={"peft_type": "EVIL"}),
        "adapter that is text": card(adapter="x"),
        "further option of the adapter": card(adapter={"peft_type": "SVDIFF", "evil": 1}),
        "adapter of a large rank": card(adapter={"peft_type": "LORA", "r": 10**8}),
        "adapter of CorDA": card(
            adapter={"peft_type": "LORA", "init_lora_weights": "corda", "corda_config": {"covariance_file": "w.pt"}}
        ),
        "size of nothing": card(image_size=0),
        "size of a city": card(image_size=10**7),
        "size that is text": card(image_size="x"),
        "side that is no side": card(truncation_side="evil"),
        "no weights": checkpoint(lambda content: content.pop("state_dict") and None),
        "weights that are text": checkpoint(lambda content: content.update(state_dict="x")),
        "weights of text": state(lambda weight: "x"),
        "NaN": state(lambda weight: weight * float("nan")),
        "infinite": state(lambda weight: weight + float("inf")),
        "other shape": state(lambda weight: torch.zeros(3, 3, 3)),
        "whole numbers": state(lambda weight: weight.to(torch.int64)),
        "complex numbers": state(lambda weight: weight.to(torch.complex64)),
        "sparse": state(lambda weight: torch.zeros(4, 4).to_sparse()),
        "a terabyte of one zero": state(lambda weight: torch.zeros(1).expand(1 << 40)),
        "a name more": checkpoint(lambda content: content["state_dict"].update({"unet.evil": torch.zeros(1)})),
        "a pipe": pipe(CKPT),
        "a folder": folder(CKPT),
        "a link to a secret": link(CKPT),
    },
    "adapter": {
        "a pickle beside": lambda room, canaries, command: (
            (room / WEIGHTS).unlink(),
            write_pickle(room / "adapter" / "adapter_model.bin", command),
        ),
        "half of the weights": half(WEIGHTS),
        "empty weights": text(WEIGHTS, ""),
        "a header that lies": text(WEIGHTS, struct.pack("<Q", 1 << 60) + b"{}"),
        "a header of text": text(WEIGHTS, struct.pack("<Q", 4) + b"evil"),
        "a header beyond the file": text(
            WEIGHTS, struct.pack("<Q", 70) + b'{"a":{"dtype":"F32","shape":[1099511627776],"data_offsets":[0,4]}}    '
        ),
        "NaN": tensors(WEIGHTS, first(lambda weight: weight * float("nan"))),
        "other shape": tensors(WEIGHTS, first(lambda weight: torch.zeros(3, 3, 3))),
        "no tensors": tensors(WEIGHTS, lambda found: found.clear()),
        "other names": tensors(WEIGHTS, lambda found: found.update(evil=torch.zeros(1))),
        "a name less": tensors(WEIGHTS, lambda found: found.pop(next(iter(found)))),
        "config of text": text(PEFT, "hello"),
        "config of a list": text(PEFT, "[]"),
        "config of bytes": text(PEFT, b"\xff\xfe\x00"),
        "config that is deep": text(PEFT, "[" * 100000),
        "no type": in_json(PEFT, peft_type=None),
        "unknown type": in_json(PEFT, peft_type="EVIL"),
        "type of a class": in_json(PEFT, peft_type="evil.X"),
        "type that fetches": in_json(PEFT, peft_type="XLORA", hidden_size=8, adapters={"x": "a/b"}),
        "type with a tokenizer": in_json(
            PEFT,
            peft_type="PROMPT_TUNING",
            num_virtual_tokens=2,
            tokenizer_name_or_path="a/b",
            prompt_tuning_init="TEXT",
        ),
        "core of Megatron": in_json(PEFT, peft_type="LORA", r=4, megatron_config={"a": 1}, megatron_core="evil"),
        "library to import": in_json(PEFT, auto_mapping={"base_model_class": "X", "parent_library": "evil"}),
        "base of the hub": in_json(PEFT, base_model_name_or_path="somebody/else"),
        "targets that take forever": in_json(PEFT, target_modules="(a+)+$|(.*.*.*.*.*.*)*x"),
        "targets that are a number": in_json(PEFT, target_modules=7),
        "further option": in_json(PEFT, evil={"class_path": "evil.X"}),
        "card of text": text("adapter/memcontrol.json", "hello"),
        "card of the hub": in_json("adapter/memcontrol.json", base="somebody/else"),
        "card at an address": in_json("adapter/memcontrol.json", base="http://127.0.0.1:9/x"),
        "card of another base": in_json("adapter/memcontrol.json", base_fingerprint="0"),
        "card of a size": in_json("adapter/memcontrol.json", image_size=10**7),
        "card without a mask": in_json("adapter/memcontrol.json", mask=None),
        "a pipe": pipe(PEFT),
        "weights that are a pipe": pipe(WEIGHTS),
    },
    "base": {
        "config of text": text(UNET, "hello"),
        "config of a list": text(UNET, "[]"),
        "config of bytes": text(UNET, b"\xff"),
        "class of the U-Net": in_json(UNET, _class_name="evil.X"),
        "blocks of the U-Net": in_json(UNET, down_block_types=["evil.X"] * 4),
        "channels without end": in_json(UNET, block_out_channels=[1 << 20] * 4),
        "channels that are text": in_json(UNET, block_out_channels="x"),
        "layers without end": in_json(UNET, layers_per_block=10**7),
        "sample of a city": in_json(UNET, sample_size=10**6),
        "activation": in_json(UNET, act_fn="evil.X"),
        "remote code of the text encoder": in_json(TEXT, auto_map=REMOTE, architectures=["evil.X"]),
        "kind of the text encoder": in_json(TEXT, model_type="evil"),
        "layers of the text encoder": in_json(TEXT, num_hidden_layers=10**8),
        "width of the text encoder": in_json(TEXT, hidden_size=3),
        "words of the text encoder": in_json(TEXT, vocab_size=10**9),
        "text encoder of text": text(TEXT, "hello"),
        "class of the tokenizer": in_json(
            "base/tokenizer/tokenizer_config.json", tokenizer_class="evil.X", auto_map=REMOTE
        ),
        "template of the tokenizer": in_json(
            "base/tokenizer/tokenizer_config.json", chat_template="{{ ''.__class__.__mro__[1].__subclasses__() }}"
        ),
        "tokenizer of text": text("base/tokenizer/tokenizer.json", "hello"),
        "length of the tokenizer": in_json("base/tokenizer/tokenizer_config.json", model_max_length=10**9),
        "pipeline of its own": lambda room, canaries, command: (
            in_json("base/model_index.json", _class_name=["pipeline", "X"])(room, canaries, command),
            (room / "base" / "pipeline.py").write_text("import evil\n"),
        ),
        "part of its own": lambda room, canaries, command: (
            in_json("base/model_index.json", unet=["evil", "X"])(room, canaries, command),
            (room / "base" / "unet" / "evil.py").write_text("import evil\n"),
        ),
        "class of the auto-encoder": in_json("base/vae/config.json", _class_name="evil.X"),
        "channels of the auto-encoder": in_json("base/vae/config.json", latent_channels=7),
        "steps of the schedule": in_json("base/scheduler/scheduler_config.json", num_train_timesteps=10**12),
        "betas of the schedule": in_json("base/scheduler/scheduler_config.json", beta_schedule="evil"),
        "prediction of the schedule": in_json("base/scheduler/scheduler_config.json", prediction_type="evil"),
        "weights that are a pickle": lambda room, canaries, command: (
            (room / UNET_WEIGHTS).unlink(),
            write_pickle(room / "base/unet/diffusion_pytorch_model.bin", command),
        ),
        "text weights that are a pickle": lambda room, canaries, command: (
            (room / "base/text_encoder/model.safetensors").unlink(),
            write_pickle(room / "base/text_encoder/pytorch_model.bin", command),
        ),
        "half of the weights": half(UNET_WEIGHTS),
        "NaN": tensors(UNET_WEIGHTS, first(lambda weight: weight * float("nan"))),
        "a tensor less": tensors(UNET_WEIGHTS, lambda found: found.pop(next(iter(found)))),
        "shards elsewhere": lambda room, *_: (
            (room / UNET_WEIGHTS).unlink(),
            (room / f"{UNET_WEIGHTS}.index.json").write_text(json.dumps(SHARDS)),
        ),
        "text shards elsewhere": lambda room, *_: (
            (room / "base/text_encoder/model.safetensors").unlink(),
            (room / "base/text_encoder/model.safetensors.index.json").write_text(json.dumps(SHARDS)),
        ),
        "weights that are a pipe": pipe(UNET_WEIGHTS),
        "config that is a pipe": pipe(UNET),
        "config that is a link": link(UNET),
        "words that are a link": link("base/tokenizer/tokenizer.json"),
    },
    "image": {
        "EPS": text("images/00.png", "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n(%pipe%EVIL) (w) file\n%%EOF\n"),
        "a bomb": image("00.png", lambda: png(40000, 40000)),
        "a long bomb": image("00.png", lambda: png(200000, 700)),
        "a strip": image("00.png", lambda: encoded(np.zeros((1, 5000), np.uint8), "PNG")),
        "one point": image("00.png", lambda: encoded(np.zeros((1, 1), np.uint8), "PNG")),
        "black": image("00.png", lambda: encoded(np.zeros((64, 64), np.uint8), "PNG")),
        "SVG": text("images/00.png", '<svg xmlns="http://www.w3.org/2000/svg"><image href="file://CANARIES/x"/></svg>'),
        "HTML": text("images/00.png", "<html><img src=http://127.0.0.1:9/></html>"),
        "half of it": half("images/00.png"),
        "empty": text("images/00.png", ""),
        "frames": image("00.png", lambda: encoded(np.zeros((9, 9), np.uint8), "GIF", save_all=True, append_images=[
            Image.fromarray(np.full((9, 9), i % 255, np.uint8)) for i in range(500)])),
        "NaN": image("00.png", lambda: encoded(np.full((64, 64), np.nan, np.float32), "TIFF")),
        "infinite": image("00.png", lambda: encoded(np.full((64, 64), np.inf, np.float32), "TIFF")),
        "a PDF": text("images/00.png", "%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\n%%EOF"),
        "a pickled array": pickled("images/00.png"),
        "a pipe": pipe("images/00.png"),
        "a folder": folder("images/00.png"),
        "a link to a secret": link("images/00.png"),
        "a link to an image": lambda room, canaries, command: (
            shutil.copy(room / "images" / "01.png", canaries / "x.png"),
            link("images/00.png", "x.png")(room, canaries, command),
        ),
        "a link to nothing": link("images/00.png", "nothing"),
        "a device": link("images/00.png", "/dev/zero"),
        "a WebP of a city": text(
            "images/00.png", b"RIFF\x1a\x00\x00\x00WEBPVP8L\x0d\x00\x00\x00\x2f\xff\xff\xff\x0f" + bytes(8)
        ),
        "a cursor": image("00.png", lambda: encoded(np.zeros((32, 32), np.uint8), "ICO")),
        "long comments": image("00.png", lambda: encoded(np.eye(64, dtype=np.uint8) * 255, "PNG")[:-12]
            + b"".join([struct.pack(">I", 10) + b"zTXt" + b"x" * 10 + bytes(4)] * 10000)),
    },
    "table": {
        "another folder": table(file_name="../canaries/secret.txt"),
        "the root": table(file_name="CANARIES/secret.txt"),
        "an address": table(file_name="http://127.0.0.1:9/x.png"),
        "a null byte": table(file_name="a\0b.png"),
        "a long name": table(file_name="x" * 5000 + ".png"),
        "a formula": table(text="=cmd|' /C calc'!A1"),
        "a script": table(text="<script>alert(1)</script>", label="<img src=x onerror=alert(1)>"),
        "bytes": text(CSV, bytes(range(256)) * 10),
        "another encoding": text(CSV, "file_name,text\nä.png,x\n".encode("utf-16")),
        "a quote without an end": text(CSV, 'file_name,text,subject_id\n"00.png,x,1\n'),
        "a field of a mebibyte": text(CSV, "file_name,text,subject_id\n00.png," + "x" * (1 << 20) + ",1\n"),
        "columns without end": text(CSV, ",".join(f"c{i}" for i in range(50000)) + "\n"),
        "columns twice": text(CSV, "file_name,text,text,subject_id\n00.png,a,b,1\n"),
        "empty": text(CSV, ""),
        "no rows": text(CSV, "file_name,text,subject_id\n"),
        "rows of other lengths": text(CSV, "file_name,text,subject_id\n00.png,a,1,2,3\n01.png\n"),
        "a pipe": pipe(CSV),
        "a link to a secret": link(CSV),
        "a workbook that grows": only("metadata.xlsx", archive(**{
            "[Content_Types]_DOT_xml": b"<x/>", "xl__workbook_DOT_xml": b"<x>" + b" " * (1 << 28) + b"</x>"})),
        "a workbook of entities": only("metadata.xlsx", archive(**{
            "[Content_Types]_DOT_xml": b'<!DOCTYPE a [<!ENTITY b "cccccccccc"><!ENTITY d "&b;&b;&b;">]><x>&d;</x>'})),
        "half a parquet": only("metadata.parquet", b"PAR1" + bytes(100)),
        "a parquet of a pickle": only("metadata.parquet", b"PAR1" + pickle.dumps(print) + b"PAR1"),
        "lines of lists": only("metadata.jsonl", b"[1]\n[2]\n"),
        "lines that are deep": only("metadata.jsonl", b"[" * 100000 + b"\n"),
        "lines of text": only("metadata.jsonl", b"hello\n"),
        "a table in a table": only("metadata.jsonl", b'{"file_name": {"a": [1]}, "text": ["x"], "subject_id": {}}\n'),
    },
    "journal": {
        "text": journal("hello"),
        "a list": journal("[1, 2]"),
        "deep": journal("[" * 100000),
        "bytes": text("study/journal.jsonl", b"\xff\xfe\n"),
        "another schema": journal('{"schema": 99, "event": "ask", "time": 1}'),
        "schema of text": journal('{"schema": "x", "event": "ask", "time": 1}'),
        "no event": journal('{"schema": 1}'),
        "an ask of nothing": journal('{"schema": 1, "event": "ask", "time": 1}'),
        "an end without a beginning": journal('{"schema": 1, "event": "finish", "time": 1, "number": 99}'),
        "time of text": line(0, time="x"),
        "number of text": line(0, number="x"),
        "mask of text": line(0, mask="evil"),
        "values of a class": line(0, values={"model.adapter": {"class_path": "evil.X"}}),
        "values that lead out": line(0, values={"trainer.default_root_dir": "../canaries"}),
        "state": line(1, state="EVIL"),
        "points of text": line(1, points="x"),
        "an error of a page": line(1, error="<script>alert(1)</script>"),
        "NaN": line(0, units=[float("nan")]),
        "record of text": text("study/study.yaml", "hello"),
        "record with a tag": text("study/study.yaml", "!!python/object/apply:os.system ['EVIL']"),
        "record of bytes": text("study/study.yaml", b"\xff"),
        "record that is a pipe": pipe("study/study.yaml"),
        "a pipe": pipe("study/journal.jsonl"),
        "a folder": folder("study/journal.jsonl"),
    },
    "evidence": {
        "text": text("evidence/base-seed0.json", "hello"),
        "a list": text("evidence/base-seed0.json", "[]"),
        "deep": text("evidence/base-seed0.json", "[" * 100000),
        "bytes": text("evidence/base-seed0.json", b"\xff"),
        "nothing": text("evidence/base-seed0.json", "{}"),
        "another format": text("evidence/base-seed0.json", '{"format": 99}'),
        "format of text": text("evidence/base-seed0.json", '{"format": "x"}'),
        "a pipe": pipe("evidence/base-seed0.json"),
        "a link to a secret": link("evidence/base-seed0.json"),
        "method of a page": lambda room, *_: spoil_evidence(room, method="<script>alert(1)</script>"),
        "method that leads out": lambda room, *_: spoil_evidence(room, method="../../canaries/x"),
        "seed of text": lambda room, *_: spoil_evidence(room, seed="x"),
        "measures of text": lambda room, *_: spoil_evidence(room, measures="x"),
        "values of text": lambda room, *_: spoil_evidence(room, values="x", images="x"),
    },
    "mask": {
        "text": text("mask.yaml", "hello"),
        "nothing": text("mask.yaml", ""),
        "a tag": text("mask.yaml", "mask: !!python/object/apply:os.system ['EVIL']"),
        "deep": text("mask.yaml", "mask: " + "[" * 5000),
        "aliases": text("mask.yaml", yaml.safe_dump({"mask": [0]}) + "a: &a [*a]\n"),
        "a number": text("mask.yaml", "mask: 7"),
        "numbers": text("mask.yaml", "mask: [7, 8]"),
        "none": text("mask.yaml", "mask: null"),
        "a pipe": pipe("mask.yaml"),
        "a folder": folder("mask.yaml"),
        "itself": text("mask.yaml", "mask: mask.yaml"),
    },
}  # fmt: skip


def spoil_evidence(room: Path, **values: Any) -> None:
    """Change values of the first cell of evidence."""
    path = sorted((room / "evidence").glob("*.json"))[0]
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def cases(kinds: dict[str, dict[str, Spoil]] = KINDS) -> dict[str, tuple[str, Any]]:
    """Return all cases: name of each, its kind and how it is spoilt; the good file of each kind is one."""
    found: dict[str, tuple[str, Any]] = {}
    for kind, of in kinds.items():
        found[f"{kind}: good"] = (kind, (kind, None))
        found |= {f"{kind}: {name}": (kind, (kind, spoil)) for name, spoil in of.items()}
    return found


def lay_out(
    case: Any, room: Path, canaries: Path, port: int, good: Callable[[Path, str], list[str]] = lay_good
) -> list[str]:
    """Write the files of a case, and return the arguments of its command."""
    kind, spoil = case
    (canaries / "secret.txt").write_text("a secret\n")
    (room / "evil.py").write_text("import pathlib\npathlib.Path('../canaries/ran').touch()\n")
    command = good(room, kind)
    if spoil is not None:
        spoil(room, canaries, f"touch {canaries / 'ran'}")
    return command


def harm(outcome: Outcome) -> str:
    """Return what a case did that it must not; empty if nothing."""
    if outcome.seen:
        return "; ".join(outcome.seen[:3])
    if outcome.memory > 2 * GIB:
        return f"it took {outcome.memory / GIB:.1f} GiB"
    return {"hang": "it hangs", "traceback": "a traceback"}.get(outcome.kind, "")
