"""One trial of a study against the same trial done as the public reference does it.

The reference, per trial: loads the pipeline three times, decomposes every weight, materialises `U diag(S) Vh` with an
explicit diagonal matrix in every forward, runs auto-encoder and text encoder in every step, samples through unmerged
layers, computes features of the real images anew, and takes a matrix square root for FID.

OMP_NUM_THREADS=1 python benchmarks/trial.py [--size tiny|sd15] [--steps 200] [--batch 16] [--images 100] [--runs 1]
OMP_NUM_THREADS=1 python benchmarks/trial.py --size sd15 --steps 5 --batch 4 --images 16 --sampler 1 --probes 8
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
import yaml
from common import SIZES, clock, make_unet, show
from scipy.linalg import sqrtm
from torch import Tensor, nn
from torch.nn import functional

from memcontrol.cli import build
from memcontrol.diffusion.bases import load_components
from memcontrol.jobs.job import Job, overlay_of
from memcontrol.jobs.run import run_job
from memcontrol.measures.encoders import ThumbnailEncoder

GUIDANCE = 4.0


def main() -> None:
    """Print CPU seconds of the second trial, done both ways, and what ours is made of."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--size", choices=SIZES, default="tiny")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--sampler", type=int, default=50)
    parser.add_argument("--probes", type=int, default=64, help="training images whose noise norm is measured")
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    base = _write_base(options.size, folder)
    (folder / "config.yaml").write_text(yaml.safe_dump(_config(base, folder, options)))
    seconds: dict[str, list[float]] = {"ours": [], "as the reference": []}
    _ours(folder, 0)  # the first trial of the study fills caches
    for number in range(1, options.runs + 1):
        started = clock("cpu")
        parts = _ours(folder, number)
        seconds["ours"].append(clock("cpu") - started)
        started = clock("cpu")
        _reference(base, folder, options)
        seconds["as the reference"].append(clock("cpu") - started)
    title = f"Trial, {options.size}: {options.steps} steps at batch {options.batch}, {options.images} images"
    arrays = {name: np.array(values) for name, values in seconds.items()}
    show(f"{title} of {options.sampler} steps", arrays, {"ours": "as the reference"}, "cpu")
    print("  ours, in wall seconds: " + ", ".join(f"{name} {value:.1f}" for name, value in parts.items()))


def _write_base(size: str, folder: Path) -> str:
    parts = load_components("embedded")
    unet = make_unet(size, "cpu")
    width = parts.text_encoder.config.hidden_size
    config = dict(unet.config) | {"cross_attention_dim": width, "sample_size": 8}
    torch.manual_seed(0)
    parts.unet = type(unet).from_config(config)
    parts.pipeline().save_pretrained(folder / "base")
    return str(folder / "base")


def _config(base: str, folder: Path, options: argparse.Namespace) -> dict[str, Any]:
    sampling = {
        "steps": options.sampler,
        "guidance_scale": GUIDANCE,
        "scheduler": "DDIMScheduler",
        "batch_size": options.batch,
    }
    encoder = {"class_path": "memcontrol.measures.encoders.ThumbnailEncoder", "init_args": {"side": 32}}
    scoring = {
        "num_images": max(8, options.images // 2),  # for training captions, and as many for held-out ones
        "num_probes": options.probes,
        "draws": 4,
        "attacks": False,
        "encoder": encoder,
    }
    rewards = {"memorization": "noise_norm", "quality": "fid", "score_base": False, "scoring": scoring}
    return {
        "seed_everything": 0,
        "model": {
            "class_path": "memcontrol.MemControlModule",
            "init_args": {
                "base": base,
                "adapter": {"class_path": "memcontrol.adapters.SVDiffConfig"},
                "sampling": sampling,
            },
        },
        "data": {
            "class_path": "memcontrol.data.phantom.datamodule.PhantomDataModule",
            "init_args": {
                "cache": {"folder": str(folder / "cache")},
                "transform": {"size": 64},
                "batch_size": options.batch,
                "split_fractions": [0.5, 0.25, 0.25],
            },
        },
        "trainer": {
            "accelerator": "cpu",
            "devices": 1,
            "max_steps": options.steps,
            "val_check_interval": options.steps,
            "check_val_every_n_epoch": None,
            "num_sanity_val_steps": 0,
            "gradient_clip_val": 1.0,
            "limit_val_batches": 1,
            "callbacks": [{"class_path": "callbacks.RewardsCallback", "init_args": rewards}],
        },
    }


def _ours(folder: Path, number: int) -> dict[str, float]:
    job = Job(
        folder=str(folder / "trials" / f"{number:03d}"),
        entry="memcontrol.cli:main",
        config=str(folder / "config.yaml"),
        overlay=overlay_of({"model.mask": [1] * 13, "model.optimizer.lr": 1e-3}),
        seed=number,
        threads=torch.get_num_threads(),
    )
    result = run_job(job)
    if result.error is not None:
        raise SystemExit(result.error)
    return result.seconds


class _Materialised(nn.Module):
    """A layer whose weight is put together anew in every forward."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer
        weight: Tensor = layer.weight.detach()  # type: ignore[assignment]
        self.shape = weight.shape
        matrix = weight[None] if weight.ndim == 1 else weight.flatten(1)
        self.u, self.s, self.vh = torch.linalg.svd(matrix, full_matrices=False)
        self.shift = nn.Parameter(torch.zeros_like(self.s))

    def forward(self, x: Tensor) -> Tensor:
        weight = (self.u @ torch.diag(functional.relu(self.s + self.shift)) @ self.vh).view(self.shape)
        output: Tensor = torch.func.functional_call(self.layer, {"weight": weight}, (x,))
        return output


def _replace(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.Linear | nn.Conv2d | nn.GroupNorm | nn.LayerNorm) and child.weight is not None:
            setattr(module, name, _Materialised(child))
        else:
            _replace(child)


def _reference(base: str, folder: Path, options: argparse.Namespace) -> None:
    parts = [load_components(base) for _ in range(3)][-1]  # for training, for the noise norm and for sampling
    unet, vae, texts = parts.unet.requires_grad_(False), parts.vae, parts.text_encoder
    _replace(unet)
    shifts = [p for name, p in unet.named_parameters() if name.endswith("shift")]
    data = build(["--config", str(folder / "config.yaml")]).datamodule
    data.setup("fit")
    train, held = data.datasets["train"], data.datasets["validate"]
    optimizer = torch.optim.AdamW(shifts, lr=1e-3)
    rng = torch.Generator().manual_seed(0)

    def encode(captions: list[str]) -> Tensor:
        tokens = parts.tokenizer(
            captions,
            padding="max_length",
            max_length=parts.tokenizer.model_max_length,
            truncation=True,
            return_tensors="pt",
        )
        with torch.no_grad():
            states: Tensor = texts(tokens.input_ids)[0]
        return states

    for _ in range(options.steps):
        rows = torch.randint(0, len(train.texts), (options.batch,), generator=rng).tolist()
        pixels = torch.stack([train.plain(row)["pixels"] for row in rows])
        with torch.no_grad():
            encoded = vae.encode(pixels)
            latents = encoded.latents if hasattr(encoded, "latents") else encoded.latent_dist.sample()
            latents = latents * vae.config.scaling_factor
        states = encode([train.texts[row] for row in rows])
        t = torch.randint(0, 1000, (len(rows),), generator=rng)
        noise = torch.randn(latents.shape, generator=rng)
        x = parts.scheduler.add_noise(latents, noise, t)
        prediction = unet(x, t, states).sample
        loss = functional.mse_loss(prediction, noise)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(shifts, 1.0)
        optimizer.step()
    with torch.no_grad():  # noise norm of training images at 4 timesteps
        null = encode([""])
        for start in range(0, options.probes * 4, options.batch):
            rows = [(start + i) % len(train.texts) for i in range(options.batch)]
            states = encode([train.texts[row] for row in rows])
            x, t = torch.randn(len(rows), 4, 8, 8, generator=rng), torch.randint(0, 1000, (len(rows),), generator=rng)
            (unet(x, t, states).sample - unet(x, t, null.expand_as(states)).sample).flatten(1).norm(dim=1)
    pipeline = parts.pipeline()
    pipeline.set_progress_bar_config(disable=True)
    drawn = []
    for start in range(0, max(16, options.images), options.batch):
        captions = [held.texts[(start + i) % len(held.texts)] for i in range(options.batch)]
        images = pipeline(
            captions,
            num_inference_steps=options.sampler,
            guidance_scale=GUIDANCE,
            height=64,
            width=64,
            output_type="pt",
        ).images
        drawn.append(images)
    encoder = ThumbnailEncoder(side=32)
    a = encoder.encode(torch.cat(drawn)).double().numpy()
    b = encoder.encode(torch.stack([held.plain(row)["pixels"] for row in range(len(held.texts))])).double().numpy()
    ours, theirs = np.cov(a.T), np.cov(b.T)
    root = sqrtm(ours @ theirs)
    float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ours + theirs - 2 * np.real(root)))


if __name__ == "__main__":
    main()
