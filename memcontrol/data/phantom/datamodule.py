"""Phantoms as a datamodule: nothing to download, and any number of subjects."""

from __future__ import annotations

import hashlib
from typing import Any

import pandas as pd
from PIL import Image

from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.phantom.anatomy import make_body, make_study
from memcontrol.data.phantom.rendering import RENDERING_VERSION, render
from memcontrol.data.phantom.reports import findings, report
from memcontrol.data.phantom.sites import site_named
from memcontrol.data.readers import ImageReader
from memcontrol.errors import DataError
from memcontrol.sizes import height_and_width

__all__ = ["PhantomDataModule", "PhantomReader"]


class PhantomReader(ImageReader):
    """Draws the image that a path like `phantom:C/12/0` names.

    Args:
        seed: Seed of the data set.
        size: Height and width, in pixels.
    """

    def __init__(self, seed: int, size: int) -> None:
        self.seed = seed
        self.size = size

    def stamp(self, path: str) -> str:
        """Return what the drawing depends on."""
        return f"phantom {RENDERING_VERSION} seed={self.seed} size={self.size} {path}"

    def content(self, path: str) -> str:
        """Return the digest of what the drawing depends on."""
        return hashlib.sha256(self.stamp(path).encode()).hexdigest()

    def read(self, path: str) -> Image.Image:
        """Draw the image."""
        name, subject, number = path.removeprefix("phantom:").split("/")
        site = site_named(name)
        body = make_body(self.seed, site, int(subject))
        study = make_study(self.seed, site, int(subject), int(number), body)
        return Image.fromarray(render(body, study, site, self.size)).convert("RGB")


class PhantomDataModule(CaptionedImageDataModule):
    """Chest phantoms, drawn from a seed.

    Args:
        sites: Names of the sites: `A`, `B` and `C`. The embedded base has seen A and B only.
        num_subjects: Subjects per site.
        images_per_subject: Studies per subject, one image each.
        drawing_seed: Seed of bodies and studies. The embedded base has seen seed 0.
        kwargs: See `CaptionedImageDataModule`.

    Raises:
        DataError: If there are too few subjects or images, or no such site.
    """

    def __init__(
        self,
        sites: list[str] = ["C"],  # noqa: B006 - a default that YAML can show
        num_subjects: int = 200,
        images_per_subject: int = 2,
        drawing_seed: int = 1,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if num_subjects < 3 or images_per_subject < 1:
            raise DataError(
                "Arguments `num_subjects` >= 3 and `images_per_subject` >= 1 are needed, but got "
                f"{num_subjects} and {images_per_subject}."
            )
        try:
            if not sites:
                raise DataError("Argument `data.sites` is empty. Name at least one of A, B and C.")
            self.sites = [site_named(name) for name in sites]
        except ValueError as error:
            raise DataError(str(error)) from error
        self.num_subjects = num_subjects
        self.images_per_subject = images_per_subject
        self.drawing_seed = drawing_seed

    @property
    def reader(self) -> PhantomReader:
        """Draw instead of reading."""
        return PhantomReader(self.drawing_seed, max(height_and_width(self.transform.size)))

    def rows(self) -> pd.DataFrame:
        """List the studies with their reports; label is the most urgent finding."""
        rows = []
        for site in self.sites:
            for subject in range(self.num_subjects):
                body = make_body(self.drawing_seed, site, subject)
                for number in range(self.images_per_subject):
                    study = make_study(self.drawing_seed, site, subject, number, body)
                    rows.append(
                        {
                            "path": f"phantom:{site.name}/{subject}/{number}",
                            "text": report(body, study, site),
                            "subject_id": f"{site.name}{subject:04d}",
                            "label": next(iter(findings(body, study)), "No finding"),
                            "view": study.view,
                        }
                    )
        return pd.DataFrame(rows)
