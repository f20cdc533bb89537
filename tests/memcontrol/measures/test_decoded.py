"""What the autoencoder cannot draw counts for no model, and all else does: blur, contrast, framing, another site."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torchvision.transforms.functional import gaussian_blur

from memcontrol.cli import main
from memcontrol.data.features import split_pixels
from memcontrol.diffusion.bases import load_components
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.measures import RealImages, Sampled, Samples, Scene, ScoredModel, ScoringOptions, collect
from memcontrol.measures.decoded import Decoded, KIDDecoded
from memcontrol.measures.distance import KID
from memcontrol.measures.encoders import PhantomEncoder
from tests.conf import short_run


@pytest.fixture(scope="module")
def scene(tmp_path_factory):
    folder = tmp_path_factory.mktemp("decoded")
    sizes = ["--data.num_subjects=160", "--data.split_fractions=[0.5,0.45,0.05]", "--trainer.max_steps=1"]
    cli = main(short_run(folder, *sizes))
    return Scene(RealImages(cli.datamodule, "validate", PhantomEncoder()), ScoringOptions(num_images=8))


@pytest.fixture(scope="module")
def model():
    return ScoredModel(load_components("embedded").pipeline(), 64, SamplingOptions(steps=1))


@pytest.fixture(scope="module")
def evidence(model, scene):
    return collect(model, scene.real, scene.options, [Samples("heldout"), Decoded()])


@pytest.fixture(scope="module")
def drawn(model, scene):
    """Pictures of a perfect U-Net: other patients of the same site, out of the autoencoder."""
    rows = list(range(len(scene.real.subjects("train"))))
    return model.reconstruct(split_pixels(scene.real.data, "train", rows))


def distance(measure, images, evidence, scene):
    none = torch.empty(0)
    subjects = [f"p{i}" for i in range(len(images))]
    sampled = Sampled(list(range(len(images))), subjects, images, scene.real.encoder.encode(images), none)
    found = replace(evidence, found={**evidence.found, Samples("heldout"): sampled})
    (measured,) = measure.measure(found, scene, None)
    return measured.value


@pytest.mark.whole
def test_other_patients_out_of_the_autoencoder_are_as_good_as_it_gets(scene, evidence, drawn):
    assert abs(distance(KIDDecoded(), drawn, evidence, scene).value) < 0.05
    assert distance(KID(), drawn, evidence, scene).low > 0  # which the distance to the images themselves does not know


@pytest.mark.parametrize("fault", ["blur", "flat", "dark", "cut", "one patient"])
def test_faults_that_one_sees_are_seen(scene, evidence, drawn, fault):
    changed = {
        "blur": lambda x: gaussian_blur(x, [9, 9], [1.5, 1.5]),
        "flat": lambda x: 0.6 * (x - 0.5) + 0.5,
        "dark": lambda x: 0.6 * x,
        "cut": lambda x: torch.nn.functional.interpolate(x[:, :, 6:58, 6:58], 64, mode="bilinear"),
        "one patient": lambda x: x[:1].repeat(len(x), 1, 1, 1),
    }[fault](drawn)
    right, wrong = (distance(KIDDecoded(), images, evidence, scene) for images in (drawn, changed))
    assert wrong.low > right.high, (right, wrong)


def test_features_are_made_once_for_all_models_of_an_autoencoder(model, scene, evidence, monkeypatch):
    monkeypatch.setattr(ScoredModel, "reconstruct", None)
    again = collect(model, scene.real, scene.options, [Decoded()])[Decoded()]
    torch.testing.assert_close(again, evidence[Decoded()])
