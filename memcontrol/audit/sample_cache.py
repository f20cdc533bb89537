"""Sample what is not there yet: an interrupted audit goes on where it was."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms.functional import to_pil_image
from tqdm import tqdm

from memcontrol.files.atomic import replacing
from memcontrol.files.digests import digest_of, weights_digest
from memcontrol.measures import ScoredModel

__all__ = ["CachedModel"]


@dataclass(frozen=True)
class CachedModel(ScoredModel):
    """A model whose pictures are kept as files, by weights, sampler, prompt and seed.

    Args:
        folder: Folder for the pictures; it is made for the owner's eyes only.
        label: What the progress bar says.
    """

    folder: Path = field(default=Path("draws"))
    label: str = "model"

    def sample(self, prompts: Sequence[str], seeds: Sequence[int], progress: bool = False) -> Iterator[Tensor]:
        """Sample batches of images as 8-bit pictures, with shape `(B, 3, height, width)`, values in [0, 1]."""
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        files = [self._file(self.weights, prompt, seed) for prompt, seed in zip(prompts, seeds, strict=True)]
        missing = [i for i, file in enumerate(files) if not file.is_file()]
        done = len(files) - len(missing)
        batches = super().sample([prompts[i] for i in missing], [seeds[i] for i in missing])
        left = iter(missing)
        with tqdm(total=len(files), initial=done, desc=f"drawing {self.label}", unit="image", delay=2) as bar:
            for images in batches:
                for image, i in zip(images, left, strict=False):
                    with replacing(files[i]) as partial:
                        to_pil_image(image).save(partial, format="PNG")
                bar.update(len(images))
        at_once = self.sampling.images_at_once(self.pipeline.device)
        for start in range(0, len(files), at_once):
            yield torch.stack([_read(file) for file in files[start : start + at_once]])

    @cached_property
    def weights(self) -> str:
        """Digest of all that a picture depends on: weights, noise schedule, and where captions are cut."""
        second = getattr(self.pipeline, "text_encoder_2", None)
        parts = [self.pipeline.unet, self.pipeline.vae, self.pipeline.text_encoder, *([second] if second else [])]
        schedule = {name: value for name, value in self.pipeline.scheduler.config.items() if not name.startswith("_")}
        further = digest_of(schedule, self.pipeline.tokenizer.truncation_side)
        return " ".join([*map(weights_digest, parts), further])

    def _file(self, weights: str, prompt: str, seed: int) -> Path:
        key = f"{weights} {digest_of(self.sampling)} {self.size} {seed} {prompt}"
        return self.folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.png"


def _read(file: Path) -> Tensor:
    return torch.from_numpy(np.array(Image.open(file).convert("RGB"))).permute(2, 0, 1).float() / 255
