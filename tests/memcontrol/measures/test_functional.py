"""Each reward against an independent computation, and on cases whose answer is known."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from scipy.stats import mannwhitneyu
from sklearn.metrics import roc_auc_score, roc_curve
from sklearn.metrics.pairwise import cosine_distances, polynomial_kernel

from memcontrol.measures.aggregators import RankZ, TPRAtFPR, Values
from memcontrol.measures.functional.extraction import clique_members, cliques, tile_distances
from memcontrol.measures.functional.frechet import frechet_distance, mifid
from memcontrol.measures.functional.kernel import kernel_distance, kernel_statistic
from memcontrol.measures.functional.manifold import overlap
from memcontrol.measures.functional.membership import hits_at_fpr, membership_auc, tpr_of_labels
from memcontrol.measures.functional.memorization import (
    authentic,
    minimal_distances,
    own_prompt_hits,
    replication_threshold,
)
from memcontrol.measures.functional.neighbours import nearest
from memcontrol.measures.statistics.multiplicity import holm


@pytest.fixture
def features():
    rng = torch.Generator().manual_seed(0)
    return [torch.rand(n, 24, generator=rng) + 0.1 * shift for n, shift in ((60, 1), (80, 0), (70, 0))]


@pytest.mark.parametrize("width", [8, 24, 200])
def test_frechet_distance_equals_the_square_root_of_a_matrix(width):
    rng = np.random.default_rng(width)
    a, b = rng.normal(size=(90, width)), rng.normal(0.3, 1.4, size=(70, width))
    root = scipy.linalg.sqrtm(np.cov(a.T) @ np.cov(b.T)).real
    expected = ((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(np.cov(a.T) + np.cov(b.T) - 2 * root)
    assert frechet_distance(torch.tensor(a), torch.tensor(b)) == pytest.approx(expected, rel=1e-4)


def test_frechet_and_kernel_distance_equal_torch_fidelity(features):
    from torch_fidelity.metric_fid import fid_features_to_statistics, fid_statistics_to_metric
    from torch_fidelity.metric_kid import mmd2

    a, b = features[0], features[1]
    statistics = [fid_features_to_statistics(x) for x in (a, b)]
    theirs = fid_statistics_to_metric(*statistics, verbose=False)["frechet_inception_distance"]
    assert frechet_distance(a, b) == pytest.approx(theirs, rel=1e-4)
    x, y = a[:60].numpy(), b[:60].numpy()
    kernels = [polynomial_kernel(p, q, degree=3, coef0=1) for p, q in ((x, x), (x, y), (y, y))]
    expected = mmd2(*kernels, unit_diagonal=False, mmd_est="unbiased")
    assert kernel_distance(a[:60], b[:60]) == pytest.approx(expected, rel=1e-4)
    rows = np.arange(60)
    assert kernel_statistic(a, b)(rows, rows) == pytest.approx(expected, rel=1e-4)


def test_overlap_equals_the_published_code(features):
    from prdc import compute_prdc

    expected = compute_prdc(features[1].numpy(), features[0].numpy(), nearest_k=5)
    assert overlap(features[0], features[1])._asdict() == pytest.approx(expected, rel=1e-4)


def test_neighbours_equal_scikit_learn(features):
    generated, training = features[0], features[1]
    distances = cosine_distances(generated.numpy(), training.numpy())
    assert minimal_distances(generated, training).numpy() == pytest.approx(distances.min(axis=1), abs=1e-6)
    assert nearest(generated, training, block=7)[1].tolist() == distances.argmin(axis=1).tolist()
    own = cosine_distances(training.numpy()) + 9 * np.eye(len(training))
    expected = distances.min(axis=1) > own.min(axis=1)[distances.argmin(axis=1)]
    assert authentic(generated, training).numpy().astype(bool).tolist() == expected.tolist()


def test_mifid_divides_where_the_distance_is_small(features):
    generated, heldout, training = features
    near = training[:60] + 0.2 * torch.rand(60, 24, generator=torch.Generator().manual_seed(5))
    distance = cosine_distances(near.numpy(), training.numpy()).min(axis=1).mean()
    assert mifid(near, heldout, training) == pytest.approx(frechet_distance(near, heldout) / distance, rel=1e-4)
    assert mifid(generated, heldout, training, threshold=0.0) == frechet_distance(generated, heldout)


def test_auc_equals_scikit_learn():
    rng = np.random.default_rng(0)
    members, others = rng.normal(0.5, 1, 40).round(1), rng.normal(0, 1, 60).round(1)
    names = [str(i // 2) for i in range(60)]
    expected = roc_auc_score([1] * 40 + [0] * 60, np.concatenate([members, others]))
    found = membership_auc(members, others, names[:40], names)
    assert found.value == pytest.approx(expected, rel=1e-9)
    assert found.low < found.value < found.high


def test_tpr_needs_enough_others():
    names = [str(i) for i in range(1000)]
    few = Values(torch.ones(5), list("abcde"), torch.zeros(999), names[:999])
    assert TPRAtFPR(0.01).summarize(few, None, 1, 0).value is None
    enough = Values(torch.ones(5), list("abcde"), torch.zeros(1000), names)
    assert TPRAtFPR(0.01).summarize(enough, None, 1, 0).value.value == 1.0


def test_tpr_of_the_labels_as_they_are():
    rng = np.random.default_rng(0)
    members, others = rng.normal(1, 1, 50), rng.normal(0, 1, 200)
    names = [str(i) for i in range(250)]
    share = tpr_of_labels(members, others, names[:50], names[50:], 0.05)
    labels = (np.arange(250) < 50)[None]
    assert share(labels)[0] == hits_at_fpr(members, others, 0.05).mean()
    fpr, tpr, _ = roc_curve([1] * 50 + [0] * 200, np.concatenate([members, others]), drop_intermediate=False)
    assert share(labels)[0] == pytest.approx(tpr[fpr <= 0.05].max())


def rank_z(a, b):
    return RankZ().value(Values(a, [f"a{i}" for i in range(len(a))], b, [f"b{i}" for i in range(len(b))]))


def test_rank_z_is_mann_and_whitney_s(features):
    generated, heldout, training = features
    g, h = (minimal_distances(x, training) for x in (generated, heldout))
    u = mannwhitneyu(g.numpy(), h.numpy()).statistic
    n, k = len(g), len(h)
    expected = (u - n * k / 2) / np.sqrt(n * k * (n + k + 1) / 12)
    assert rank_z(g, h) == pytest.approx(expected, rel=0.12)  # its spread is that of 400 labelings


def test_rank_z_is_a_z_score():
    rng = torch.Generator().manual_seed(0)
    training, heldout, fresh = (torch.randn(200, 16, generator=rng) for _ in range(3))
    near, far, copies = (minimal_distances(x, training) for x in (fresh, heldout, training + 0.01))
    assert abs(rank_z(near, far)) < 3
    assert rank_z(copies, far) < -10


def test_own_prompt_counts_copies_of_one_image():
    hits = own_prompt_hits(torch.tensor([0, 1, 2]), torch.tensor([1, 1, 0]), ["same", "same", "other"])
    assert hits.tolist() == [1, 1, 0]


def test_replication_threshold_holds_its_level():
    rng = np.random.default_rng(0)
    rates = [(rng.normal(size=500) > replication_threshold(torch.tensor(rng.normal(size=300)), 0.05)).mean()
             for _ in range(200)]  # fmt: skip
    assert 0.03 < np.mean(rates) <= 0.052
    assert replication_threshold(torch.zeros(5), 0.01) == float("inf")


def test_holm_equals_the_textbook():
    assert holm([0.01, 0.02, 0.03, 0.005]).tolist() == pytest.approx([0.03, 0.04, 0.04, 0.02])


def noisy(image, count, sigma, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return (image + sigma * torch.randn(count, *image.shape, generator=rng)).clamp(0, 1)


def test_extraction_returns_cliques_only():
    distance = torch.ones(12, 12)
    pairs = [(0, 1), (0, 2), (1, 2), (1, 3), (0, 3), (2, 3)]  # a clique of four
    pairs += [(4, 5), (5, 6), (6, 7)]  # a chain
    pairs += [(8, 9), (8, 10), (8, 11)]  # a star
    for i, j in pairs:
        distance[i, j] = distance[j, i] = 0.1
    assert cliques(distance, 0.2) == [[0, 1, 2, 3]]
    assert cliques(distance, 0.2, size=5) == []


def test_extraction_finds_the_planted_image():
    training = torch.rand(20, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    samples = torch.cat([noisy(training[7], 4, 0.02), torch.rand(20, 3, 16, 16)])
    assert clique_members(samples, threshold=0.1) == [0, 1, 2, 3]
    near = tile_distances(samples[:4], training) < 0.1
    assert near.nonzero()[:, 1].unique().tolist() == [7]
    assert clique_members(samples[2:], threshold=0.1) == []


def test_extraction_of_500_samples_finds_all_copies():
    image = torch.rand(3, 64, 64, generator=torch.Generator().manual_seed(1))
    samples = torch.cat([noisy(image, 100, 0.02), torch.rand(400, 3, 64, 64)])
    assert cliques(tile_distances(samples, samples), 0.1) == [list(range(100))]


@pytest.mark.parametrize("block", [7, 100, 4096])
def test_neighbours_of_many_are_found_in_blocks(block):
    training = torch.randn(2_500, 64, generator=torch.Generator().manual_seed(0))
    _, rows = nearest(training[::25] + 0.1, training, block=block)
    assert rows.tolist() == list(range(0, 2_500, 25))
