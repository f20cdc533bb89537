"""What every adapter must do, whatever its method."""

from __future__ import annotations

import pytest
import torch
from peft import LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, PeftModel

from memcontrol.adapters import DiffFitConfig, SelectiveConfig, SVDiffConfig, adapt, resolve_mask
from memcontrol.adapters.method import method_of, owner_of
from memcontrol.adapters.plan import make_plan
from memcontrol.errors import AdapterError, MaskError
from tests.conftest import make_unet

TUNES = ("full", "bias", "norm", "norm_bias", "attention", "norm_bias_attention")
CONFIGS = {
    "svdiff": (SVDiffConfig, {}),
    "difffit": (DiffFitConfig, {}),
    **{tune: (SelectiveConfig, {"tune": tune}) for tune in TUNES},
    "lora": (LoraConfig, {"r": 4}),
    "loha": (LoHaConfig, {"r": 4}),
    "lokr": (LoKrConfig, {"r": 4}),
    "oft": (OFTConfig, {"oft_block_size": 32, "use_cayley_neumann": False}),
}
EXACT = ("svdiff", "difffit", *TUNES)


@pytest.fixture(params=CONFIGS)
def name(request):
    return request.param


@pytest.fixture
def config(name):
    kind, options = CONFIGS[name]
    return kind(**options)


def put(unet, config, slots="attention", mask="all"):
    layout, parsed = resolve_mask(unet, slots, mask)
    return adapt(unet, config, layout, parsed, allow_empty=True)


def predict(unet, inputs):
    with torch.no_grad():
        return unet(*inputs).sample


def disturb(adapted, scale=0.02):
    rng = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in adapted.trainable().values():
            parameter.add_(scale * torch.randn(parameter.shape, generator=rng))


def test_fresh_is_the_identity(unet, inputs, name, config):
    expected = predict(unet, inputs)
    put(unet, config)
    error = (predict(unet, inputs) - expected).abs().max()
    assert error == 0 if name in EXACT else error < 1e-5


def test_bit_frees_exactly_its_slot(config):
    with torch.device("meta"):
        unet = make_unet()
    layout, none = resolve_mask(unet, "attention", "none")
    for i in range(len(layout.names)):
        bits = tuple(int(j == i) for j in range(len(layout.names)))
        adapted = adapt(unet, config, layout, none.with_bits(bits))
        slots = {layout.slot_of(owner_of(method_of(config).unit_of(n))).name for n in adapted.trainable()}
        assert slots == {layout.names[i]}
        found = {method_of(config).unit_of(n) for n in adapted.trainable()}
        assert found == set(make_plan(adapted.eject(), config, layout).in_slot[layout.names[i]])


def test_all_off_trains_nothing(unet, config):
    assert not put(unet, config, mask="none").trainable()


def test_ejecting_restores_bit_for_bit(unet, inputs, config):
    before = {k: v.clone() for k, v in unet.state_dict().items()}
    adapted = put(unet, config, slots="all" if isinstance(config, SVDiffConfig) else "attention")
    disturb(adapted)
    with adapted.merged():
        predict(unet, inputs)
    after = adapted.eject().state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[k], before[k]) for k in before)


def test_merged_agrees_and_is_undone(unet, inputs, config):
    adapted = put(unet, config)
    base = predict(unet, inputs)
    disturb(adapted)
    unmerged = predict(unet, inputs)
    with adapted.merged():
        merged = predict(unet, inputs)
    assert (merged - unmerged).abs().max() < 1e-5
    assert torch.equal(predict(unet, inputs), unmerged)
    assert (unmerged - base).abs().max() > 1e-5


def test_disabled_is_the_base(unet, inputs, config):
    base = predict(unet, inputs)
    adapted = put(unet, config)
    disturb(adapted)
    with adapted.as_base():
        assert torch.equal(predict(unet, inputs), base)
    assert adapted.trainable()


def test_gradients_reach_all_that_is_trained_and_nothing_else(unet, inputs, config):
    adapted = put(unet, config)
    disturb(adapted)
    unet(*inputs).sample.square().mean().backward()
    trained = adapted.trainable()
    assert all(p.grad is not None for p in trained.values())
    assert all(p.grad is None for n, p in unet.named_parameters() if n not in trained)


def test_save_and_load_give_equal_outputs(unet, inputs, config, tmp_path):
    adapted = put(unet, config, mask="bits:1010101010101010")
    disturb(adapted)
    adapted.save(tmp_path)
    loaded = make_unet()
    PeftModel.from_pretrained(loaded, str(tmp_path))
    assert torch.equal(predict(loaded, inputs), predict(unet, inputs))


def test_oft_leaves_3x3_convolutions_alone(unet):
    config = OFTConfig(oft_block_size=32, use_cayley_neumann=False)
    layout, _ = resolve_mask(unet, "resnet", "all")
    plan = make_plan(unet, config, layout)
    assert not any(".conv1" in unit or ".conv2" in unit for units in plan.in_slot.values() for unit in units)
    assert any("conv1 (Conv2d)" in module for modules in plan.unadaptable.values() for module in modules)


def test_slot_with_nothing_to_adapt_is_refused(unet):
    with pytest.raises(AdapterError, match="can adapt nothing"):
        put(unet, SelectiveConfig(tune="attention"), slots="resnet")


def test_mask_that_frees_nothing_is_refused(unet):
    layout, mask = resolve_mask(unet, "attention", "none")
    with pytest.raises(MaskError, match="frees nothing"):
        adapt(unet, SVDiffConfig(), layout, mask)
