"""The finder sees through changes of tone and pose, and depends on nothing but the two images."""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from memcontrol.measures.copies import CopyEncoder, CopyFinder, finder
from memcontrol.measures.copies.agreement import correlation, local_agreement
from memcontrol.measures.copies.relief import relief


def clouds(count, seed):
    """Smooth random pictures with shape `(count, 3, 64, 64)`, values in (0.1, 0.9)."""
    noise = torch.rand(count, 1, 24, 24, generator=torch.Generator().manual_seed(seed))
    smooth = interpolate(noise, (64, 64), mode="bicubic").clamp(0, 1)
    return (0.1 + 0.8 * smooth).expand(-1, 3, -1, -1)


@pytest.fixture(scope="module")
def images():
    return clouds(40, 0)


@pytest.fixture(scope="module")
def found(images):
    return CopyFinder(CopyEncoder().encode(images))


CHANGES = {
    "none": lambda x: x,
    "mirrored": lambda x: x.flip(-1),
    "inverted": lambda x: 1 - x,
    "gamma": lambda x: x**1.5,
    "darker and flatter": lambda x: 0.3 * x + 0.1,
    "cut off-centre": lambda x: interpolate(x[..., 10:, 3:57], (64, 64), mode="bilinear").clamp(0, 1),
    "right half": lambda x: torch.cat([torch.zeros_like(x[..., :32]), x[..., 32:]], dim=-1),
    "upper half": lambda x: torch.cat([x[..., :32, :], torch.full_like(x[..., :32, :], 0.5)], dim=-2),
    "shifted": lambda x: torch.cat([torch.zeros_like(x[..., :4]), x[..., :-4]], dim=-1),
    "twice as large": lambda x: interpolate(x, (128, 128), mode="bicubic").clamp(0, 1),
}


@pytest.mark.parametrize("change", CHANGES)
def test_copies_are_found(images, found, change):
    strangers = found.match(CopyEncoder().encode(clouds(60, 1))).similarity
    match = found.match(CopyEncoder().encode(CHANGES[change](images)))
    assert match.row.tolist() == list(range(40))
    assert float(match.similarity.min()) > float(strangers.max())
    assert float(match.similarity.max()) <= 1.0


def test_nothing_depends_on_what_is_compared_together(monkeypatch, images, found):
    queries = CopyEncoder().encode(clouds(70, 2))
    together = found.match(queries)
    monkeypatch.setattr(finder, "AT_ONCE", 7)
    monkeypatch.setattr(finder, "BLOCK", 9)
    apart = found.match(queries)
    assert apart.row.tolist() == together.row.tolist()
    torch.testing.assert_close(apart.similarity, together.similarity)


def test_only_allowed_images_are_matched(images, found):
    queries = CopyEncoder().encode(images)
    allowed = torch.zeros(40, 40, dtype=torch.bool)
    allowed[torch.arange(40), (torch.arange(40) + 1) % 40] = True
    match = found.match(queries, allowed)
    assert match.row.tolist() == [(i + 1) % 40 for i in range(40)]
    assert float(match.similarity.max()) < 0.9


def test_candidates_are_the_nearest_outlines(images, found):
    queries = CopyEncoder().encode(1 - images[:5])
    assert found.candidates(queries, 3)[:, 0].tolist() == [0, 1, 2, 3, 4]
    assert found.candidates(queries, 99).shape == (5, 40)


def test_empty_pictures_match_nothing(found):
    for level in (0.0, 0.5, 1.0):
        match = found.match(CopyEncoder().encode(torch.full((1, 3, 64, 64), level)))
        assert float(match.similarity) < 0.1


def test_correlation_is_that_of_the_places_inside():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(2, 5, 100, generator=rng)
    inside = (torch.rand(5, 100, generator=rng) < 0.6).float()
    pairs = [torch.corrcoef(torch.stack([x[m > 0], y[m > 0]]))[0, 1] for x, y, m in zip(a, b, inside, strict=True)]
    torch.testing.assert_close(correlation(a, inside, b), torch.stack(pairs), atol=1e-4, rtol=0)


def test_six_agreeing_tiles_are_enough():
    rng = torch.Generator().manual_seed(0)
    ours, theirs = torch.randn(2, 1, 32, 32, generator=rng)
    mixed = theirs.clone()
    mixed[:, 16:] = ours[:, 16:]
    whole = torch.ones(1, 1024)
    assert float(local_agreement(mixed.flatten(1), whole, theirs.flatten(1))) > 0.95
    assert float(local_agreement(ours.flatten(1), whole, theirs.flatten(1))) < 0.4
    assert float(local_agreement(mixed.flatten(1), whole * 0, theirs.flatten(1))) == 0.0


def test_relief_does_not_know_brightness_or_contrast():
    images = adaptive_avg_pool2d(clouds(3, 4)[:, :1], 64)
    before, after = relief(images, 1.0, 4.0), relief(0.5 * images + 0.2, 1.0, 4.0)
    assert float((before - after).abs().max()) < 0.3
    assert float((before - after).abs().mean()) < 0.05
