"""The door that users come through: real configs, end to end."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import entry_points

import pandas as pd
import pytest
import torch
from PIL import Image

from memcontrol import load_pipeline
from memcontrol.cli import main
from memcontrol.diffusion.bases import load_components
from memcontrol.errors import CheckpointError
from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint
from tests.conf import short_run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    main(short_run(folder))
    return folder / "demo" / "version_0"


def test_run_folder_is_complete(run):
    for name in ("config.yaml", "metrics.csv", "heldout.json", "adapter/adapter_model.safetensors"):
        assert (run / name).is_file(), name
    assert len(list((run / "samples").glob("*.png"))) == 2
    metrics = pd.read_csv(run / "metrics.csv")
    assert {"train/loss", "val/loss", "val/loss_base", "val/gain"} <= set(metrics.columns)


def test_checkpoint_holds_what_is_trained_only(run):
    card, weights = read_checkpoint(find_checkpoint(run))
    assert card.step == 6
    assert card.mask["bits"] == [1] * 13
    assert all("svdiff_shift" in name for name in weights)
    assert any(w.abs().max() > 0 for w in weights.values())


def test_adapter_folder_and_checkpoint_draw_alike(run):
    options = {"num_inference_steps": 2, "output_type": "pt"}
    images = [
        load_pipeline(path)("CXR PA, 60M", generator=torch.Generator().manual_seed(0), **options).images
        for path in (run, run / "adapter")
    ]
    assert images[0].shape == (1, 3, 64, 64)
    assert (images[0] - images[1]).abs().max() < 1e-5


def test_predict_does_not_depend_on_the_batch(run, tmp_path):
    (tmp_path / "prompts.csv").write_text("text\nCXR PA\nCXR AP\nCXR PA; cardiomegaly\n")
    for size in (1, 3):
        main(
            [
                "predict", "--config", "demo.yaml", f"--ckpt_path={run}", f"--prompts_file={tmp_path / 'prompts.csv'}",
                f"--sampling.batch_size={size}", "--sampling.steps=2", f"--output={tmp_path / str(size)}",
            ]
        )  # fmt: skip
    for name in ("00000.png", "00001.png", "00002.png"):
        one, three = (torch.tensor(list(Image.open(tmp_path / s / name).tobytes())) for s in ("1", "3"))
        assert (one - three).abs().max() <= 1


def test_predict_draws_as_the_config_says(run, tmp_path, monkeypatch):
    from memcontrol.cli.commands import predict

    seen, draw = [], predict.sample_batches
    monkeypatch.setattr(predict, "sample_batches", lambda p, t, s, o, size: seen.append(o) or draw(p, t, s, o, size))
    args = ["predict", "--config=demo.yaml", f"--ckpt_path={run}", "--prompts=[CXR PA]", f"--output={tmp_path}"]
    main([*args, "--model.sampling.steps=2", "--model.sampling.guidance_start=0.5"])
    main([*args, "--model.sampling.steps=2", "--sampling={steps: 3, guidance_scale: 1.5}"])
    config, given = seen
    assert (config.steps, config.scheduler, config.guidance_start) == (2, "DPMSolverMultistepScheduler", 0.5)
    assert (given.steps, given.guidance_scale) == (3, 1.5)


def test_export_is_what_predict_draws(run, tmp_path):
    main(["export", "--config", "demo.yaml", f"--ckpt_path={run}", f"--output={tmp_path / 'merged'}"])
    code = (
        "import sys, torch; from diffusers import StableDiffusionPipeline as P; "
        "p = P.from_pretrained(sys.argv[1]); "
        "x = p('CXR PA, 60M', num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type='pt');"
        "assert 'memcontrol' not in sys.modules; torch.save(x.images, sys.argv[2])"
    )
    subprocess.run([sys.executable, "-c", code, tmp_path / "merged", tmp_path / "x.pt"], check=True, cwd=tmp_path)
    ours = load_pipeline(run)(
        "CXR PA, 60M", num_inference_steps=2, generator=torch.Generator().manual_seed(0), output_type="pt"
    ).images
    assert (torch.load(tmp_path / "x.pt", weights_only=True) - ours).abs().max() <= 1 / 255


@pytest.mark.parametrize("at_step", [pytest.param(1, marks=pytest.mark.slow), 5])
def test_killed_and_resumed_is_undisturbed(run, tmp_path, at_step):
    args = short_run(tmp_path, "--trust-config")
    callbacks = f"--trainer.callbacks+={{class_path: tests.killer.Killer, init_args: {{at_step: {at_step}}}}}"
    killed = [sys.executable, "train.py", *args, callbacks]
    assert subprocess.run(killed, capture_output=True, check=False).returncode == -9
    folder = tmp_path / "demo" / "version_0"
    go_on = [f"--ckpt_path={folder}"] if list((folder / "checkpoints").glob("*.ckpt")) else []
    main(short_run(tmp_path, *go_on))
    runs = sorted((tmp_path / "demo").iterdir())
    _, expected = read_checkpoint(find_checkpoint(run))
    _, found = read_checkpoint(find_checkpoint(runs[-1]))
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_second_run_encodes_nothing(run, tmp_path, monkeypatch):
    from memcontrol.diffusion.codecs import LatentCodec
    from memcontrol.diffusion.texts import TextCodec

    calls: list[int] = []
    monkeypatch.setattr(LatentCodec, "encode", lambda self, pixels: calls.append(len(pixels)))
    encode = TextCodec.encode
    monkeypatch.setattr(TextCodec, "encode", lambda self, t: encode(self, t) if t == [""] else calls.append(len(t)))
    args = [a for a in short_run(tmp_path) if "callbacks" not in a]
    cache = f"--data.cache.folder={run.parents[1] / 'cache'}"
    main([*args, cache, "--trainer.callbacks=[callbacks.BaselineCallback]"])  # a sample grid encodes its prompts
    assert not calls


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("--model.mask=bits:01", "must have 13 bits"),
        ("--model.mask=side.*", "matches no slot"),
        ("--model.base=nowhere", "no folder"),
        ("--model.slots=paper13 --model.mask=none --model.adapter=null", None),
        ("--model.slots=attention --model.mask=none", "frees nothing"),
        ("--data.sites=[Q]", "must name sites"),
        ("--data.data_fraction=0", "data_fraction"),
        ("--data.memorization.num_images=9999", "only"),
        ("--ckpt_path=nowhere", "does not exist"),
        ("--config=absent.yaml", "neither a file here"),
        ("--model.sampling.scheduler=Nope", "must be one of"),
    ],
)
def test_wrong_input_gets_a_message(tmp_path, capsys, change, message):
    args = short_run(tmp_path, *change.split())
    if message is None:
        main(args)
        return
    with pytest.raises(SystemExit) as caught:
        main(args)
    assert caught.value.code == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert "Traceback" not in printed


def test_checkpoint_with_code_is_refused(tmp_path, capsys):
    class Evil:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    torch.save({"state_dict": {}, "x": Evil()}, tmp_path / "evil.ckpt")
    for command in ("fit", "validate", "export"):
        extra = [f"--output={tmp_path / 'out'}"] if command == "export" else []
        args = [command, "--config", "demo.yaml", f"--ckpt_path={tmp_path / 'evil.ckpt'}", *extra]
        with pytest.raises(SystemExit):
            main(args)
        assert "was refused" in capsys.readouterr().err
    assert not (tmp_path / "ran").exists()


def test_the_installed_command_ends_with_zero():
    (script,) = entry_points(group="console_scripts", name="memcontrol")
    program = f"import sys; from {script.module} import {script.attr}; sys.exit({script.attr}())"
    args = ["slots", "--model.base", "sd15"]
    done = subprocess.run([sys.executable, "-c", program, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "859,520,964" in done.stdout
    assert "object at" not in done.stderr


@pytest.mark.whole
@pytest.mark.parametrize("folder", ["", "adapter"])
def test_a_share_of_the_way_is_a_share_of_each_weight(run, folder):
    base, half, whole = (dict(load_pipeline(run / folder, scale=s).unet.named_parameters()) for s in (0.0, 0.5, 1.0))
    untouched = dict(load_components("embedded").unet.named_parameters())
    moved = 0
    for name, weight in half.items():
        torch.testing.assert_close(weight, (base[name] + whole[name]) / 2, rtol=0, atol=1e-7)
        assert torch.equal(base[name], untouched[name])
        moved += not torch.equal(base[name], whole[name])
    assert moved > 10
    with pytest.raises(CheckpointError, match="merge=True"):
        load_pipeline(run / folder, scale=0.5, merge=False)
    with pytest.raises(CheckpointError, match=r"\[0, 1\]"):
        load_pipeline(run / folder, scale=1.5)
