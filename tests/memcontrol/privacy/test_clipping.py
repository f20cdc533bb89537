"""Clipped sums are those of a loop over patients, whatever the adapter, the layers and the microbatch."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from memcontrol.adapters import adapt, resolve_mask
from memcontrol.adapters.svdiff.layer import SVDiffLayer
from memcontrol.errors import GuaranteeError
from memcontrol.privacy.clipping import clip_factors, clipped_sums, units_of
from tests.conftest import make_unet
from tests.memcontrol.adapters.test_contract import CONFIGS

PATIENTS, DRAWS, CLIP = 5, 3, 0.05


def adapted_unet(name, slots="block", mask="all"):
    unet = make_unet().double()  # its random weights magnify the rounding of passes of 3 and 6 samples
    layout, parsed = resolve_mask(unet, slots, mask)
    kind, options = CONFIGS[name]
    trained = adapt(unet, kind(**options), layout, parsed).trainable()
    rng = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in trained.values():
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=rng))
    return unet, trained


def losses_of(unet, dtype=torch.float64):
    rng = torch.Generator().manual_seed(1)
    n = PATIENTS * DRAWS
    x, target = (torch.randn(n, 4, 8, 8, generator=rng, dtype=dtype) for _ in range(2))
    t = torch.randint(0, 1000, (n,), generator=rng)
    states = torch.randn(n, 5, 32, generator=rng, dtype=dtype)
    size = torch.linspace(0.2, 3, PATIENTS).repeat_interleave(DRAWS)  # some are clipped and some are not

    def losses(start, stop):
        s = slice(start * DRAWS, stop * DRAWS)
        errors = (unet(x[s], t[s], states[s]).sample - target[s]).square().flatten(1).mean(dim=1) * size[s]
        return errors.view(-1, DRAWS).mean(dim=1)

    return losses


def by_hand(trained, losses, clip):
    """One backward pass for each patient, by the book."""
    sums = {name: torch.zeros_like(p, dtype=torch.float64) for name, p in trained.items()}
    clipped = 0
    for patient in range(PATIENTS):
        for parameter in trained.values():
            parameter.grad = None
        losses(patient, patient + 1).sum().backward()
        norm = torch.cat([p.grad.flatten() for p in trained.values() if p.grad is not None]).double().norm()
        clipped += bool(norm > clip)
        for name, parameter in trained.items():
            if parameter.grad is not None:
                sums[name] += parameter.grad.double() * min(1.0, clip / float(norm))
    for parameter in trained.values():
        parameter.grad = None
    return sums, clipped


def distance(ours, theirs):
    square = sum(float((ours[name].double() - theirs[name]).square().sum()) for name in theirs)
    return (square / sum(float(value.square().sum()) for value in theirs.values())) ** 0.5


@pytest.mark.parametrize("name", CONFIGS)
def test_sums_are_those_of_a_loop_by_hand(name, monkeypatch):
    # SVDiff chooses by the size of a batch between forms that differ by the rounding of its factors, about 1e-6
    monkeypatch.setattr(SVDiffLayer, "_num_positions", lambda self, base, x: 64)
    unet, trained = adapted_unet(name)
    losses = losses_of(unet)
    norms = []
    for patient in range(PATIENTS):
        found = torch.autograd.grad(losses(patient, patient + 1).sum(), list(trained.values()), allow_unused=True)
        norms.append(sum(float(g.square().sum()) for g in found if g is not None) ** 0.5)
    clip = sorted(norms)[2]  # two patients are left as they are
    expected, clipped = by_hand(trained, losses, clip)
    assert 1 <= clipped <= 3
    for microbatch in (1, 2, PATIENTS):
        assert distance(clipped_sums(unet, trained, losses, PATIENTS, clip, microbatch), expected) < 1e-5


def test_a_mask_leaves_out_what_is_off():
    unet, trained = adapted_unet("lora", mask=[0, 1, 0, 0, 1, 0, 0])
    losses = losses_of(unet)
    expected, _ = by_hand(trained, losses, CLIP)
    assert distance(clipped_sums(unet, trained, losses, PATIENTS, CLIP, 4), expected) < 1e-5


def test_one_patient_adds_no_more_than_the_clip():
    unet, trained = adapted_unet("svdiff")
    losses = losses_of(unet)
    everyone = clipped_sums(unet, trained, losses, PATIENTS, CLIP, PATIENTS)
    others = clipped_sums(unet, trained, losses, PATIENTS - 1, CLIP, PATIENTS)
    change = sum(float((everyone[n] - others[n]).square().sum()) for n in everyone) ** 0.5
    assert CLIP * 0.999 < change < CLIP * 1.001  # the last one's loss is the largest


@pytest.mark.parametrize("microbatch", [1, PATIENTS])
def test_a_patient_whose_gradient_is_not_finite_adds_nothing(microbatch):
    unet, trained = adapted_unet("lora")
    losses = losses_of(unet)

    def spoilt(start, stop):
        factor = torch.ones(PATIENTS)
        factor[2] = torch.nan
        return losses(start, stop) * factor[start:stop]

    found = clipped_sums(unet, trained, spoilt, PATIENTS, CLIP, microbatch)
    kept = {}
    for patient in (0, 1, 3, 4):
        one = clipped_sums(unet, trained, lambda a, b, p=patient: losses(p, p + 1), 1, CLIP)
        kept = {name: kept.get(name, 0) + value.double() for name, value in one.items()}
    assert distance(found, kept) < 1e-5


def test_no_patient_gives_zeros():
    unet, trained = adapted_unet("svdiff")
    sums = clipped_sums(unet, trained, losses_of(unet), 0, CLIP, 4)
    assert set(sums) == set(trained)
    assert all(float(value.abs().max()) == 0 for value in sums.values())


@pytest.mark.whole
def test_checkpointing_changes_nothing_and_in_bf16_the_bound_holds():
    unet, trained = adapted_unet("lora")
    losses = losses_of(unet)
    expected, _ = by_hand(trained, losses, CLIP)
    unet.enable_gradient_checkpointing()
    unet.train()
    assert distance(clipped_sums(unet, trained, losses, PATIENTS, CLIP, 1), expected) < 1e-5
    assert distance(clipped_sums(unet, trained, losses, PATIENTS, CLIP, 4), expected) < 1e-5
    unet.disable_gradient_checkpointing()
    unet.float()
    single = losses_of(unet, torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        for patients, microbatch in ((1, 1), (PATIENTS, 1), (PATIENTS, 4)):
            sums = clipped_sums(unet, trained, single, patients, 1e-3, microbatch)
            norm = sum(float(value.square().sum()) for value in sums.values()) ** 0.5
            assert 1e-4 < norm <= 1e-3 * patients * 1.0001


def test_layers_that_mix_what_comes_in_are_refused():
    class Mixing(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 4)

        def forward(self, x):
            return self.layer(x.mean(dim=0, keepdim=True))

    module = Mixing()
    trained = dict(module.named_parameters())
    x = torch.randn(6, 4)
    with pytest.raises(GuaranteeError, match="microbatch: 1"):
        clipped_sums(module, trained, lambda a, b: module(x[2 * a : 2 * b]).square().sum(1).expand(b - a), 3, 1.0, 3)


def test_shared_layers_and_parameters_of_outer_layers():
    class Inner(nn.Linear):
        pass

    class Outer(nn.Module):
        def __init__(self):
            super().__init__()
            self.scale = nn.ParameterDict({"default": nn.Parameter(torch.ones(4))})
            self.inner = Inner(4, 4)

        def forward(self, x):
            return self.inner(self.inner(x).tanh()) * self.scale["default"]

    module = nn.Sequential(Outer(), nn.Linear(4, 1))
    trained = dict(module.named_parameters())
    assert units_of(module, trained) == {"0": ["scale.default", "inner.weight", "inner.bias"], "1": ["weight", "bias"]}
    x = torch.randn(PATIENTS * DRAWS, 4)

    def losses(start, stop):
        return module(x[start * DRAWS : stop * DRAWS]).square().view(-1, DRAWS).mean(dim=1)

    expected, _ = by_hand(trained, losses, CLIP)
    assert distance(clipped_sums(module, trained, losses, PATIENTS, CLIP, PATIENTS), expected) < 1e-5


def test_factors():
    norms = torch.tensor([0.0, 0.5, 2.0, float("inf"), float("nan")])
    assert clip_factors(norms, 1.0).tolist() == [1.0, 1.0, 0.5, 0.0, 0.0]
