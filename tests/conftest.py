from __future__ import annotations

import atexit
import os
import shutil
import tempfile

os.environ.setdefault("OMP_NUM_THREADS", "2")
os.environ["XDG_CACHE_HOME"] = tempfile.mkdtemp(prefix="memcontrol-cache-")  # of tests and of what they start

import pytest
import torch
from diffusers import UNet2DConditionModel

atexit.register(shutil.rmtree, os.environ["XDG_CACHE_HOME"], ignore_errors=True)


def make_unet() -> UNet2DConditionModel:
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 32, 32, 32),
        layers_per_block=2,
        attention_head_dim=1,
        cross_attention_dim=32,
        norm_num_groups=16,
    ).eval()


@pytest.fixture
def unet() -> UNet2DConditionModel:
    return make_unet()


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(1)
    x = torch.randn(2, 4, 8, 8, generator=rng)
    return x, torch.tensor([3, 700]), torch.randn(2, 5, 32, generator=rng)


@pytest.fixture(autouse=True)
def no_run_is_left_open():
    """A run of Weights & Biases that a test leaves open would swallow the next one's."""
    yield
    import wandb

    if wandb.run is not None:
        wandb.run.finish()
