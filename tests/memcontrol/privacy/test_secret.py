"""Noise has the distribution that is accounted for, follows from the key alone, and is its owner's."""

from __future__ import annotations

import pytest
import torch
from scipy.stats import chi2, kstest

from memcontrol.errors import GuaranteeError
from memcontrol.privacy.secret import Secret, read_key, write_key


def test_noise_is_standard_normal():
    drawn = Secret(b"a" * 32).normal(torch.zeros(1000, 200), "noise", 0).double().flatten()
    n = len(drawn)
    low, high = chi2.ppf([1e-5, 1 - 1e-5], n)
    assert low < float(drawn.square().sum()) < high
    assert kstest(drawn.numpy(), "norm").pvalue > 1e-4


def test_each_step_parameter_and_context_has_noise_of_its_own():
    like = torch.zeros(4096)
    secret = Secret(b"a" * 32, "here")
    streams = [
        secret.normal(like, "noise", "weight", 1),
        secret.normal(like, "noise", "weight", 2),
        secret.normal(like, "noise", "bias", 1),
        Secret(b"a" * 32, "there").normal(like, "noise", "weight", 1),
        Secret(b"b" * 32, "here").normal(like, "noise", "weight", 1),
        Secret().normal(like, "noise", "weight", 1),
    ]
    together = torch.corrcoef(torch.stack(streams))
    assert (together - torch.eye(len(streams))).abs().max() < 5 / 64
    assert torch.equal(streams[0], Secret(b"a" * 32, "here").normal(like, "noise", "weight", 1))


def test_new_keys_differ():
    assert len({Secret().key for _ in range(10)}) == 10


def test_a_key_is_its_owner_s_alone(tmp_path):
    path = tmp_path / "privacy.key"
    write_key(path, b"k" * 32)
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_key(path) == b"k" * 32
    path.write_bytes(b"short")
    with pytest.raises(GuaranteeError, match="5 bytes instead of 32"):
        read_key(path)
    with pytest.raises(GuaranteeError, match="Start a new run"):
        read_key(tmp_path / "none")
