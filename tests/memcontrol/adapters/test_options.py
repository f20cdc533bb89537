"""Every option of PEFT's methods either keeps the contract of adapters or is refused: none is silently wrong."""

from __future__ import annotations

import dataclasses
from copy import deepcopy

import pytest
import torch
from diffusers import UNet2DConditionModel
from peft import LoHaConfig, LoKrConfig, LoraConfig, OFTConfig, mapping
from peft.tuners.lora import config as lora_options
from peft.tuners.lora.config import LoraRuntimeConfig
from torch import nn

from memcontrol.adapters import DiffFitConfig, SelectiveConfig, SVDiffConfig, adapt, resolve_mask
from memcontrol.adapters.kinds import matches_targets
from memcontrol.adapters.method import method_of, owner_of
from memcontrol.adapters.plan import make_plan
from memcontrol.errors import MemControlError
from tests.memcontrol.adapters.test_contract import disturb, predict

PLAIN = {
    LoraConfig: {"r": 4},
    LoHaConfig: {"r": 4},
    LoKrConfig: {"r": 4},
    OFTConfig: {"oft_block_size": 32},
}
LINEAR = {"target_modules": ["to_q", "to_k"]}
"""For what PEFT has for linear layers only."""
COMMON = {
    "task_type": ["SEQ_CLS", "CAUSAL_LM", "FEATURE_EXTRACTION"],
    "peft_type": [],  # set by the config itself
    "auto_mapping": [{"base_model_class": "UNet2DConditionModel", "parent_library": "diffusers"}],
    "peft_version": ["0.0.1"],
    "base_model_name_or_path": ["x"],
    "revision": ["main"],
    "inference_mode": [True],
    "target_modules": [["to_q"], "all-linear", r".*attn1\.to_k", ["nowhere"]],
    "exclude_modules": [["to_v"], r".*attn2.*"],
    "modules_to_save": [["conv_in"], ["to_q"], ["norm1"]],
    "layers_to_transform": [0, [0, 1]],
    "layers_pattern": ["attentions", ["resnets"]],
    "rank_pattern": [{"to_q": 2}],
    "alpha_pattern": [{"to_q": 3}],
    "r": [1, 8],
    "init_weights": [True, False],
    "module_dropout": [0.5],
    "rank_dropout": [0.5],
    "use_effective_conv2d": [True],
    "alpha": [3],
    "bias": ["none", "all"],
    "fan_in_fan_out": [True],
}
OWN = {
    LoraConfig: {
        "bias": ["none", "all", "lora_only"],
        "lora_alpha": [3],
        "lora_dropout": [0.5],
        "use_rslora": [True],
        "init_lora_weights": [True, False, "gaussian", "eva", "olora", "pissa", "pissa_niter_4", "corda", "orthogonal",
                              "mica", "lora_ga"],
        "megatron_config": [{"a": 1}],
        "megatron_core": ["os"],
        "trainable_token_indices": [[1], {"to_q": [1]}],
        "loftq_config": [{"loftq_bits": 4}],
        "eva_config": [lora_options.EvaConfig()],
        "corda_config": [lora_options.CordaConfig()],
        "lora_ga_config": [lora_options.LoraGAConfig()],
        "use_dora": [True],
        "velora_config": [lora_options.VeloraConfig()],
        "alora_invocation_tokens": [[1]],
        "use_qalora": [True],
        "qalora_group_size": [8],
        "monteclora_config": [lora_options.MontecloraConfig()],
        "layer_replication": [[(0, 1)]],
        "runtime_config": [LoraRuntimeConfig(ephemeral_gpu_offload=True)],
        "lora_bias": [True],
        "target_parameters": [["conv_in.weight"], ["attn1.to_q.weight"]],
        "use_bdlora": [lora_options.BdLoraConfig(nblocks=2)],
        "arrow_config": [lora_options.ArrowConfig()],
        "kasa_config": [lora_options.KasaConfig()],
        "ensure_weight_tying": [True],
    },
    LoHaConfig: {},
    LoKrConfig: {"init_weights": [True, False, "lycoris"], "decompose_both": [True], "decompose_factor": [4],
                 "rank_dropout_scale": [True]},
    OFTConfig: {"bias": ["none", "all", "oft_only"], "r": [2], "oft_block_size": [16], "coft": [True], "eps": [1e-3],
                "block_share": [True], "use_cayley_neumann": [False], "num_cayley_neumann_terms": [3]},
}  # fmt: skip
COMPANIONS = {
    "layers_pattern": {"layers_to_transform": [0]},
    "rank_dropout_scale": {"rank_dropout": 0.5},
    "r=2": {"oft_block_size": 0},
}
NOT_FOR_UNETS = (
    "arrow_config", "kasa_config", "layer_replication", "layers_pattern", "layers_to_transform", "modules_to_save",
    "target_modules", "target_parameters", "task_type", "trainable_token_indices", "use_bdlora",
)  # fmt: skip
"""Options of which some values are refused, since slots would be left with nothing, or others would be trained."""
MUST_REFUSE = {
    *(("LoraConfig", "bias", value) for value in ("all", "lora_only")),
    *(("OFTConfig", "bias", value) for value in ("all", "oft_only")),
    *(("LoraConfig", "init_lora_weights", value) for value in (False, "olora", "pissa", "pissa_niter_4", "corda")),
    *((kind, "init_weights", False) for kind in ("LoHaConfig", "LoKrConfig", "OFTConfig")),
    *((kind, "inference_mode", True) for kind in ("LoraConfig", "LoHaConfig", "LoKrConfig", "OFTConfig")),
    ("LoraConfig", "megatron_config", "{'a': 1}"),
    ("LoraConfig", "target_parameters", "['conv_in.weight']"),
    ("LoraConfig", "alora_invocation_tokens", "[1]"),
}


def make_unet():
    """Return a U-Net with all kinds of layers, as small as one can be."""
    torch.manual_seed(0)
    return UNet2DConditionModel(
        sample_size=8, block_out_channels=(32, 32), layers_per_block=1, attention_head_dim=1, cross_attention_dim=32,
        norm_num_groups=16, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def plain():
    return make_unet()


def cases():
    for kind in PLAIN:
        for field in dataclasses.fields(kind):
            for value in OWN[kind].get(field.name, COMMON.get(field.name, ["no value in this test"])):
                yield pytest.param(kind, field.name, value, id=f"{kind.__name__}-{field.name}-{str(value)[:30]}")


def options_of(kind, name, value, further):
    companions = COMPANIONS.get(name, {}) | (COMPANIONS.get(f"{name}={value}", {}) if kind is OFTConfig else {})
    return PLAIN[kind] | further | companions | {name: value}


@pytest.mark.parametrize(("kind", "name", "value"), cases())
def test_an_option_keeps_the_contract_or_is_refused(plain, inputs, kind, name, value):
    assert value != "no value in this test", f"PEFT has a new option: add values of `{name}`"
    outcome = "refused"
    for further in ({}, LINEAR):  # linear layers alone take more of PEFT's options
        try:
            config = kind(**options_of(kind, name, value, further))
        except (ValueError, TypeError):  # PEFT itself refuses it
            continue
        if keeps_the_contract(plain, config, inputs):
            outcome = "kept"
            break
    key = (kind.__name__, name, value if isinstance(value, str | bool) else str(value))
    assert outcome == "refused" or key not in MUST_REFUSE
    assert outcome == "kept" or key in MUST_REFUSE or key[1] in NOT_FOR_UNETS


def keeps_the_contract(plain, config, inputs):
    """Whether a config is taken, and then keeps the contract; False if it is refused."""
    base, before = predict(plain, inputs), plain.state_dict()
    unet = deepcopy(plain)
    layout, mask = resolve_mask(unet, "attention", "bits:0101")
    try:
        adapted = adapt(unet, config, layout, mask)
    except MemControlError:
        return False
    unet.eval()
    assert (predict(unet, inputs) - base).abs().max() < 1e-4  # fresh is the identity
    units = {method_of(adapted.config).unit_of(parameter) for parameter in adapted.trainable()}
    assert units
    assert units <= set(make_plan(plain, config, layout).units(mask))  # the mask says what is trained
    disturb(adapted)
    assert (predict(unet, inputs) - base).abs().max() > 1e-6
    with adapted.as_base():
        assert torch.equal(predict(unet, inputs), base)
    with adapted.merged():
        predict(unet, inputs)
    after = adapted.eject().state_dict()
    assert list(after) == list(before)
    assert all(torch.equal(after[key], before[key]) for key in before)
    return True


def test_linear_layers_of_resnets_are_what_all_linear_frees_there(unet):
    """It once landed on 57 convolutions."""
    config = LoraConfig(r=4, target_modules="all-linear")
    layout, mask = resolve_mask(unet, "resnet", "all")
    adapted = adapt(unet, config, layout, mask)
    owners = {method_of(config).unit_of(name) for name in adapted.trainable()}
    assert {name.rsplit(".", 1)[1] for name in owners} == {"time_emb_proj"}
    assert len(owners) == len(layout.names)


def test_layers_to_transform_is_followed(unet):
    """The names that the mask had chosen once hid it."""
    config = LoraConfig(r=4, target_modules=["to_q"], layers_to_transform=[1], layers_pattern="attentions")
    layout, _ = resolve_mask(unet, "block", "none")
    with pytest.raises(MemControlError, match=r"can adapt nothing in 1 of the 7 slots .* in `mid_block`"):
        make_plan(unet, config, layout)  # which has one attention
    assert not matches_targets(config, "down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q", nn.Linear(1, 1))
    assert matches_targets(config, "down_blocks.0.attentions.1.transformer_blocks.0.attn1.to_q", nn.Linear(1, 1))


def test_every_method_of_peft_keeps_the_contract_or_is_refused(plain, inputs):
    """VeRA, RandLoRA and others once ended in a TypeError."""
    kept = set()
    for name, kind in mapping.PEFT_TYPE_TO_CONFIG_MAPPING.items():
        try:
            config = kind(**({"target_modules": ["to_out.0"]} if "target_modules" in kind.__dataclass_fields__ else {}))
        except ValueError:  # it needs options that this test does not know
            continue
        if keeps_the_contract(plain, config, inputs):
            kept.add(str(getattr(name, "value", name)))
    assert kept >= {"LORA", "LOHA", "LOKR", "OFT", "BOFT", "HRA", "VERA", "RANDLORA", "SVDIFF", "SELECTIVE"}


def test_biases_of_lora_go_where_they_can_be_merged(plain):
    config = LoraConfig(r=4, lora_bias=True, target_modules=["to_q", "to_out.0"])
    layout, mask = resolve_mask(plain, "attention", "all")
    assert all(unit.endswith("to_out.0") for unit in make_plan(plain, config, layout).units(mask))


@pytest.mark.parametrize("config", [SVDiffConfig, DiffFitConfig, SelectiveConfig])
def test_targets_of_one_s_own_restrict_our_methods_too(unet, config):
    layout, mask = resolve_mask(unet, "attention", "all")
    units = make_plan(unet, config(target_modules=["to_q", "to_k"]), layout).units(mask)
    assert units
    assert {owner_of(unit).rsplit(".", 1)[-1] for unit in units} == {"to_q", "to_k"}
    left = make_plan(unet, config(exclude_modules=["to_q"]), layout).units(mask)
    assert left
    assert not any(owner_of(unit).endswith("to_q") for unit in left)
