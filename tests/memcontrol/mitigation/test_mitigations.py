"""Each mitigation by its effect on the batch, through the module that trains."""

from __future__ import annotations

import pytest
import torch
import yaml

from memcontrol.cli import main
from memcontrol.diffusion.noising import sample_timesteps
from memcontrol.mitigation import (
    MultipleCaptions,
    NoiseNormThreshold,
    RandomNumberAddition,
    RandomWordAddition,
    TextNoise,
    WordRepetition,
)
from memcontrol.module import MemControlModule
from memcontrol.seeds import derive_seed
from tests.conf import short_run

TEXTS = ["CXR PA, 60M; cardiomegaly", "CXR AP, 30F; no acute finding"]
SEEDS = torch.tensor([11, 12])


def module_with(*mitigations, **options):
    module = MemControlModule(mitigations=list(mitigations), **options)
    module.configure_model()
    module.null_states = module.text_codec.encode([""])
    return module


def batch():
    rng = torch.Generator().manual_seed(0)
    latents = torch.randn(2, 1, 4, 8, 8, generator=rng)
    return {"index": torch.arange(2), "seed": SEEDS, "text": TEXTS, "latents": latents}


def words(module, ids):
    return module.text_codec.tokenizer.decode(ids, skip_special_tokens=True)


@pytest.mark.parametrize("mitigation", [RandomWordAddition, RandomNumberAddition, WordRepetition])
def test_tokens_change_anew_with_each_draw(mitigation):
    module = module_with(mitigation(count=3))
    plain = module.text_codec.tokenize(TEXTS)
    first, again, other = (module.mitigated_tokens(TEXTS, seeds) for seeds in ([1, 2], [1, 2], [3, 4]))
    assert not torch.equal(first, plain)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert first.shape == plain.shape


def test_text_encoder_sees_the_changed_tokens(monkeypatch):
    module = module_with(RandomWordAddition())
    seen = []
    encode = type(module.text_codec).encode_tokens
    monkeypatch.setattr(type(module.text_codec), "encode_tokens", lambda s, ids: seen.append(ids) or encode(s, ids))
    module.training_errors(batch())
    assert not torch.equal(seen[0], module.text_codec.tokenize(TEXTS))


def test_numbers_are_numbers_and_repetitions_repeat():
    text = ["edema"]
    numbers = module_with(RandomNumberAddition(count=1))
    assert any(ch.isdigit() for ch in words(numbers, numbers.mitigated_tokens(text, [1])[0]))
    repeated = module_with(WordRepetition(count=2))
    content = repeated.text_codec.tokenizer("edema", add_special_tokens=False).input_ids
    found = [t for t in repeated.mitigated_tokens(text, [1])[0].tolist() if t in content]
    assert len(found) == len(content) + 2


def test_one_of_several_captions_is_taken():
    mitigation = MultipleCaptions()
    chosen = {mitigation.captions(["a || b || c"], [seed])[0] for seed in range(40)}
    assert chosen == {"a", "b", "c"}


def test_text_noise_has_its_scale():
    states = torch.zeros(2, 48, 64)
    changed = TextNoise(0.5).states(states, SEEDS)
    assert changed.std().item() == pytest.approx(0.5, rel=0.05)
    assert not torch.equal(changed[0], changed[1])


def test_threshold_drops_samples_from_the_loss():
    open_module, closed = (
        module_with(NoiseNormThreshold(threshold=1e9)),
        module_with(NoiseNormThreshold(threshold=-1.0)),
    )
    assert open_module.training_errors(batch())[2].tolist() == [True, True]
    assert closed.training_errors(batch())[2].tolist() == [False, False]
    norms = torch.tensor([3.0, 1.0, 2.0, 4.0])
    assert NoiseNormThreshold(quantile=0.5).kept(norms).tolist() == [False, True, True, False]


def test_the_noise_norm_of_a_velocity_model_is_that_of_its_noise():
    class Spy(NoiseNormThreshold):
        def kept(self, norms):
            self.norms = norms
            return super().kept(norms)

    spy = Spy(threshold=1.0)
    module = module_with(spy)
    module.training_errors(batch())
    norms = spy.norms
    module.parts.scheduler.register_to_config(prediction_type="v_prediction")
    module.training_errors(batch())
    seeds = torch.tensor([derive_seed(module.seed, seed) for seed in SEEDS.tolist()])
    t = sample_timesteps(seeds, module.num_timesteps)
    alpha = module.parts.scheduler.alphas_cumprod[t].sqrt()
    assert spy.norms == pytest.approx(alpha * norms, rel=1e-3)


@pytest.mark.whole
def test_emptied_batches_have_no_gradient(tmp_path):
    from memcontrol.files.checkpoints import find_checkpoint, read_checkpoint

    option = "{class_path: memcontrol.mitigation.NoiseNormThreshold, init_args: {threshold: -1}}"
    main(short_run(tmp_path, f"--model.mitigations=[{option}]", "--model.optimizer.weight_decay=0"))
    _, weights = read_checkpoint(find_checkpoint(tmp_path / "demo" / "version_0"))
    assert all(not w.any() for w in weights.values())


@pytest.mark.whole
@pytest.mark.parametrize("overlays", ["rwa", "threshold", "augment timesteps floor", "ambient"])
def test_overlays_train(tmp_path, overlays):
    main(short_run(tmp_path, *(f"--config=mitigation/{overlay}.yaml" for overlay in overlays.split())))
    run = tmp_path / "demo" / "version_0"
    assert (run / "adapter").is_dir()
    config = yaml.safe_load((run / "config.yaml").read_text())
    if "augment" in overlays:
        assert config["model"]["init_args"]["timesteps"]["low"] == 0.25
        assert config["data"]["init_args"]["transform"]["augment"]["rotation"] == 3
