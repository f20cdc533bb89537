"""What scores depend on beside the model: real images, options, sampler. One digest, for whoever keeps scores."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.files.digests import digest_of
from memcontrol.measures.options import ScoringOptions
from memcontrol.measures.real import RealImages
from memcontrol.sizes import Size

__all__ = ["setting_digest"]


def setting_digest(real: RealImages, options: ScoringOptions, sampling: SamplingOptions, size: Size) -> str:
    """Return the digest.

    Args:
        real: Real images.
        options: Options of scoring.
        sampling: How the model samples.
        size: Height and width of pictures, in pixels.
    """
    data = real.data
    rows = [data.table(split)[["content", "text"]].to_csv() for split in ("train", real.heldout_split)]
    repeated = data.memorized_rows().tolist()
    read: dict[str, Any] = {"fit": data.transform.fit} if data.transform.fit != "crop" else {}
    read |= {"value_range": data.value_range} if data.value_range is not None else {}
    parts = [replace(options, encoder=None, sampling=None), sampling, real.encoder.digest, size, repeated, rows]
    return digest_of(*parts, *([read] if read else []))
