"""Make the frozen parts of the embedded base: tokenizer, text encoder, auto-encoder, scheduler.

They see phantoms of the sites A and B only. `make base` runs this and then fits the U-Net with
`configs/base.yaml`.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKL, DDPMScheduler
from torch.nn.functional import affine_grid, grid_sample, l1_loss
from tqdm import tqdm
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from memcontrol.data.phantom.anatomy import make_body, make_study
from memcontrol.data.phantom.rendering import draw
from memcontrol.data.phantom.reports import report
from memcontrol.data.phantom.sites import site_named

SITES = "AB"
SIZE = 64
MAX_TOKENS = 48


def draw_phantoms(num_subjects: int, seed: int) -> tuple[torch.Tensor, list[str]]:
    """Draw three studies of each subject of each site: images in [-1, 1] and their reports."""
    images, texts = [], []
    for name in SITES:
        site = site_named(name)
        for subject in range(num_subjects):
            body = make_body(seed, site, subject)
            for number in range(3):
                study = make_study(seed, site, subject, number, body)
                images.append(draw(body, study, site, SIZE))
                texts.append(report(body, study, site))
    pixels = torch.from_numpy(np.stack(images))[:, None].float() / 127.5 - 1
    return pixels, texts


def make_tokenizer(texts: list[str]) -> CLIPTokenizer:
    """Train CLIP's byte-level BPE on the reports, so that any text still has tokens."""
    tokenizer = CLIPTokenizer().train_new_from_iterator(texts, vocab_size=900)
    tokenizer.model_max_length = MAX_TOKENS
    return tokenizer


def make_text_encoder(tokenizer: CLIPTokenizer) -> CLIPTextModel:
    """Build a small CLIP text model with random frozen weights: an injective code for words."""
    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=64,
        intermediate_size=128,
        projection_dim=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        max_position_embeddings=MAX_TOKENS,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config).eval()


def distort(pixels: torch.Tensor, rng: torch.Generator) -> torch.Tensor:
    """Vary exposure, field of view and collimation, so that other looks can be coded too."""
    n = len(pixels)
    u = torch.rand(n, 8, generator=rng)
    zoom = 0.8 + 0.5 * u[:, 0]
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / zoom
    theta[:, :, 2] = 0.2 * (u[:, 1:3] - 0.5)
    moved = grid_sample(pixels, affine_grid(theta, list(pixels.shape), align_corners=False), align_corners=False)
    film = ((moved + 1) / 2).clamp(0, 1) ** torch.exp(1.2 * (u[:, 3] - 0.5))[:, None, None, None]
    axis = torch.linspace(-1, 1, SIZE)
    edge = torch.maximum(axis[:, None].abs(), axis[None].abs())
    border = torch.where(u[:, 4] < 0.3, 0.65 + 0.3 * u[:, 5], 2.0)[:, None, None, None]
    film = film * (edge < border)
    for i in (u[:, 6] < 0.4).nonzero().flatten().tolist():
        y, x, h, w = torch.randint(2, SIZE - 14, (4,), generator=rng).tolist()
        h, w = 3 + h % 10, 3 + w % 10
        film[i, :, y : y + h, x : x + w] = u[i, 7].round()
    film = film + 0.02 * torch.randn(film.shape, generator=rng)
    return film.clamp(0, 1) * 2 - 1


def make_autoencoder(pixels: torch.Tensor, num_steps: int, seed: int) -> AutoencoderKL:
    """Train an 8x auto-encoder with four latent channels, as Stable Diffusion's."""
    torch.manual_seed(seed)
    vae = AutoencoderKL(
        in_channels=3,
        out_channels=3,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        block_out_channels=(16, 32, 64, 64),
        layers_per_block=1,
        latent_channels=4,
        norm_num_groups=8,
        sample_size=SIZE,
    )
    optimizer = torch.optim.AdamW(vae.parameters(), lr=2e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, num_steps, pct_start=0.05)
    rng = torch.Generator().manual_seed(seed)
    bar = tqdm(range(num_steps), desc="auto-encoder", mininterval=10)
    for _ in bar:
        clean = pixels[torch.randint(len(pixels), (24,), generator=rng)]
        batch = distort(clean, rng) if torch.rand((), generator=rng) < 0.5 else clean
        batch = batch.expand(-1, 3, -1, -1)
        posterior = vae.encode(batch).latent_dist
        output = vae.decode(posterior.sample(rng)).sample
        detail = sum(l1_loss(output.diff(dim=d), batch.diff(dim=d)) for d in (2, 3))
        loss = l1_loss(output, batch) + detail + 1e-6 * posterior.kl().mean()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        mse = (output - batch).square().mean().item()
        bar.set_postfix(psnr=f"{-10 * np.log10(mse / 4):.1f} dB", refresh=False)
    return vae.eval()


def main() -> None:
    """Write the parts into one folder."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--num_steps", type=int, default=4500)
    parser.add_argument("--num_subjects", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    pixels, texts = draw_phantoms(args.num_subjects, args.seed)
    torch.manual_seed(args.seed)
    tokenizer = make_tokenizer(texts)
    longest = max(len(ids) for ids in tokenizer(texts).input_ids)
    print(f"{len(tokenizer)} tokens in the vocabulary; the longest report has {longest}")
    make_text_encoder(tokenizer).half().save_pretrained(args.output / "text_encoder")
    tokenizer.save_pretrained(args.output / "tokenizer")
    vae = make_autoencoder(pixels, args.num_steps, args.seed)
    with torch.no_grad():
        latents = vae.encode(pixels[::20].expand(-1, 3, -1, -1)).latent_dist.mean
    vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 4))
    vae.half().save_pretrained(args.output / "vae")
    DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        steps_offset=1,
    ).save_pretrained(args.output / "scheduler")


if __name__ == "__main__":
    main()
