"""A measure, a probe, an adapter, a mitigation, a proposer and a data source of a user's own: a file or folder each."""

from __future__ import annotations

import json
import sys

import pandas as pd
import pytest
import yaml

from memcontrol.cli import build, main
from memcontrol.compare.cells import _kept
from memcontrol.compare.evidence import CellEvidence
from memcontrol.compare.options import CompareOptions
from memcontrol.compare.rows import read_rows, table_of
from memcontrol.files.journal import Journal
from memcontrol.measures import MEASURES, RealImages, Scene, ScoredModel, ScoringOptions, score
from memcontrol.measures.encoders import ThumbnailEncoder
from memcontrol.search.records import read_trials
from tests.memcontrol.adapters.test_contract import predict

MEASURE = """
from dataclasses import dataclass
from memcontrol.measures.aggregators import GroupAUC
from memcontrol.measures.measure import Measure, register
from memcontrol.measures.aggregators import Values
from memcontrol.measures.probes import Probe


@dataclass(frozen=True)
class PlantedProbe(Probe):
    def score(self, denoiser, images):
        return images.moments.flatten(1).mean(dim=1) + (10.0 if self.side == "train" else 0.0)


class Planted(Measure):
    name = "planted"
    group = "memorization"
    higher_is_better = False
    needs = (PlantedProbe("train"), PlantedProbe("heldout"))
    aggregator = GroupAUC()
    words = "a planted leak"
    leak = "something was planted"
    column = 5

    def values(self, evidence, scene):
        inside, outside = (evidence[need] for need in self.needs)
        return Values(inside.means, inside.subjects, outside.means, outside.subjects)


register(Planted())
"""
ADAPTER = {
    "__init__": """
from memcontrol.adapters.registry import register
from own_adapter.config import GainConfig
from own_adapter.method import GainMethod
from own_adapter.model import GainModel

register("GAIN", GainConfig, GainModel, GainMethod)
""",
    "config": '''
from dataclasses import dataclass
from peft.config import PeftConfig


@dataclass
class GainConfig(PeftConfig):
    """One factor for the output of each Linear."""
    target_modules: list[str] | str | None = None
    exclude_modules: list[str] | str | None = None

    def __post_init__(self):
        super().__post_init__()
        self.peft_type = "GAIN"
''',
    "layer": """
import torch
from torch import nn
from memcontrol.adapters.layer import LeafLayer


class GainLayer(LeafLayer):
    adapter_layer_names = ("gain_factor",)

    def add_parameters(self, adapter_name, config, module_name):
        self.gain_factor[adapter_name] = nn.Parameter(torch.ones(1, device=self.get_base_layer().weight.device))

    def adapted_parameters(self, adapter_name):
        factor, base = self.gain_factor[adapter_name], self.get_base_layer()
        bias = {} if base.bias is None else {"bias": factor * base.bias}
        return {"weight": factor * base.weight, **bias}
""",
    "model": """
from memcontrol.adapters.layer import LeafModel
from own_adapter.layer import GainLayer


class GainModel(LeafModel):
    prefix = "gain_"
    tuner_layer_cls = GainLayer
""",
    "method": """
from dataclasses import replace
from torch import nn
from memcontrol.adapters.method import Method, exactly, leaves


class GainMethod(Method):
    def units(self, unet):
        return [name for name, module in leaves(unet).items() if isinstance(module, nn.Linear)]

    def targeting(self, units):
        return replace(self.config, target_modules=exactly(units))
""",
}
MITIGATION = """
from memcontrol.diffusion.sampling_mitigations import SamplingMitigation
from memcontrol.mitigation import Mitigation


class Shout(Mitigation):
    seen = []

    needs_text_encoder = True

    def captions(self, texts, seeds):
        Shout.seen.append([text.upper() for text in texts])
        return Shout.seen[-1]


class HalfGuidance(SamplingMitigation):
    steps = []

    def guidance(self, number, num_steps, scale):
        HalfGuidance.steps.append(number)
        return scale / 2
"""
PROPOSER = """
from nevergrad.optimization import base


class Ordered(base.Optimizer):
    takes_reference = False

    def _internal_ask_candidate(self):
        number = self.num_ask
        value = {key: part for key, part in self.parametrization.value.items()}
        value["mask"] = tuple(int(i <= number) for i in range(len(value["mask"])))
        return self.parametrization.spawn_child(new_value=value)


if "Ordered" not in base.registry:
    base.registry.register(Ordered)
"""
SOURCE = """
import pandas as pd
from PIL import Image
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.data.readers import ImageReader


class StripeReader(ImageReader):
    def stamp(self, path):
        return path

    def content(self, path):
        return path

    def read(self, path):
        number = int(path.split(":")[1])
        return Image.linear_gradient("L").rotate(7 * number).resize((64, 64)).convert("RGB")


class StripeDataModule(CaptionedImageDataModule):
    @property
    def reader(self):
        return StripeReader()

    def rows(self):
        return pd.DataFrame({"path": [f"stripe:{i}" for i in range(48)], "text": "CXR stripes",
                             "subject_id": [str(i) for i in range(48)]})
"""


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """One new file each, and one folder, in a folder of their own."""
    folder = tmp_path_factory.mktemp("own")
    for name, text in (("measure", MEASURE), ("mitigation", MITIGATION), ("proposer", PROPOSER), ("source", SOURCE)):
        (folder / f"own_{name}.py").write_text(text)
    (folder / "own_adapter").mkdir()
    for name, text in ADAPTER.items():
        (folder / "own_adapter" / f"{name}.py").write_text(text)
    yield folder
    MEASURES.pop("planted", None)
    for name in list(sys.modules):
        if name.startswith("own_"):
            del sys.modules[name]


def config(own, folder):
    names = [own / "own_adapter", *(own / f"own_{n}.py" for n in ("measure", "mitigation", "proposer", "source"))]
    encoder = {"class_path": "memcontrol.measures.encoders.ThumbnailEncoder"}
    scoring = {
        "num_images": 8,
        "num_probes": 0,
        "draws": 1,
        "attacks": False,
        "encoder": encoder,
        "sampling": {"steps": 1},
    }
    tree = {
        "seed_everything": 0,
        "model": {
            "adapter": {"class_path": "own_adapter.config.GainConfig"},
            "slots": "attention",
            "mitigations": [{"class_path": "own_mitigation.Shout"}],
            "sampling": {"steps": 2, "mitigations": [{"class_path": "own_mitigation.HalfGuidance"}]},
        },
        "data": {
            "class_path": "own_source.StripeDataModule",
            "init_args": {
                "split_fractions": [0.4, 0.3, 0.3], "batch_size": 4, "transform": {"size": 64},
                "cache": {"folder": str(folder / "cache")},
            },
        },
        "trainer": {
            "accelerator": "cpu", "devices": 1, "max_steps": 2, "val_check_interval": 2,
            "check_val_every_n_epoch": None, "num_sanity_val_steps": 0,
            "callbacks": [
                {"class_path": "RewardsCallback", "init_args": {"memorization": "planted", "scoring": scoring}},
                {"class_path": "ParetoCheckpoint"},
                {"class_path": "AdapterCheckpoint"},
            ],
        },
        "extensions": [str(name) for name in names],
    }  # fmt: skip
    (folder / "own.yaml").write_text(yaml.safe_dump(tree, sort_keys=True))
    return str(folder / "own.yaml")


@pytest.fixture(scope="module")
def study(own, tmp_path_factory):
    """A search with all six, in a worker that has never heard of them."""
    folder = tmp_path_factory.mktemp("extended")
    main(
        [
            "search", "--config", config(own, folder), "--trust-config", f"--search.study={folder / 'study'}",
            "--search.trials=2", "--search.workers=1", "--search.threads=1", "--search.optimizer=Ordered",
            "--search.anchors=[]", "--search.objectives=[planted,kid]", "--search.rescore_factor=0",
        ]
    )  # fmt: skip
    return folder


@pytest.mark.whole
def test_each_is_at_work_in_a_search(study):
    found = read_trials(Journal(study / "study" / "journal.jsonl"))
    assert [t.error for t in found] == [None, None]
    assert [sum(t.mask) for t in found] == [1, 2]  # the proposer
    assert {p.rewards[0] for t in found for p in t.points} == {-1.0}  # the measure: the planted probe tells all
    front = pd.read_csv(study / "study" / "pareto.csv")
    assert (front["planted"] == 1).all()
    run = study / "study" / "trials" / "trial-0000"
    card = json.loads((run / "adapter" / "memcontrol.json").read_text())
    assert card["adapter"]["peft_type"] == "GAIN"
    assert json.loads((run / "adapter" / "adapter_config.json").read_text())["peft_type"] == "GAIN"


@pytest.mark.whole
def test_the_measure_stands_in_audit_verdict_and_difference(own, study, tmp_path):
    runs = [str(study / "study" / "trials" / f"trial-000{i}") for i in range(2)]
    main(
        [
            "audit", "--config", config(own, study), "--trust-config", "--ckpt_path", *runs,
            f"--output={tmp_path}", "--options.scoring.num_images=8", "--options.extraction.prompts=0",
            "--options.scoring.measures=[planted,own_prompt]",
            "--options.scoring.encoder=memcontrol.measures.encoders.ThumbnailEncoder",
        ]
    )  # fmt: skip
    record = json.loads((tmp_path / "audit.json").read_text())
    measures = {m["name"]: m for m in record["audited"][0]["measures"]}
    assert measures["planted"]["value"]["value"] == 1
    assert {d["name"] for d in record["differences"]} == {"planted", "own_prompt"}
    page = (tmp_path / "report.html").read_text()
    assert "planted" in page


def test_the_verdict_says_what_was_planted(own):
    from memcontrol.audit.verdict import Patients, judge
    from memcontrol.measures import Measurement

    leak = Measurement("planted", "memorization", None, 0.5, False, 1e-9)
    build(["--config", config(own, own), "--trust-config"])  # registers it
    verdict = judge([leak], None, [], Patients(20, 20, 20, 10), None, 0.01, 0.01)
    assert verdict.leaks
    assert "something was planted" in " ".join(verdict.details)


@pytest.mark.whole
def test_the_measure_is_a_column_of_a_comparison(own, study, tmp_path):
    cli = build(["--config", config(own, study), "--trust-config"])
    cli.datamodule.setup("test")
    cli.model.configure_model()
    options = ScoringOptions(
        num_images=8, num_probes=0, draws=1, encoder=ThumbnailEncoder(), measures=["planted", "kid"]
    )
    model = ScoredModel(cli.model.pipeline(), 64, cli.model.sampling)
    found = score(model, cli.datamodule, "test", options)
    real = RealImages(cli.datamodule, "test", ThumbnailEncoder())
    CellEvidence(
        "mine", 0, "a:b", {"lr": 1e-3, "step": 2}, (), 5, 100, {m.name: m for m in found.measurements},
        **_kept(found.evidence, Scene(real, options)),
    ).write(tmp_path / "mine-seed0.json")  # fmt: skip
    (row,) = read_rows(tmp_path, CompareOptions())
    assert list(table_of([row]).columns[6:8]) == ["planted", "planted null"]
    assert row.mean("planted") == 1
    patients = [len(set(real.subjects(split))) for split in ("train", "test")]
    assert len(row.replicates["planted"]) == sum(patients)


def test_the_mitigations_are_at_work(own, study):
    cli = build(["--config", config(own, study), "--trust-config"])
    module = sys.modules["own_mitigation"]
    cli.model.configure_model()
    tokens = cli.model.mitigated_tokens(["CXR pa"], [0])
    assert module.Shout.seen[-1] == ["CXR PA"]
    assert tokens.shape[0] == 1
    module.HalfGuidance.steps.clear()
    scoring = ScoringOptions(num_images=8, sampling=cli.model.sampling.__class__(steps=3))
    model = ScoredModel(cli.model.pipeline(), 64, scoring.sampling_of(cli.model.sampling))
    list(model.sample(["CXR"], [0]))
    assert module.HalfGuidance.steps == [0, 1, 2]  # scoring's sampler, the model's mitigation


def test_the_adapter_keeps_the_contract(own, unet, inputs):
    build(["--config", config(own, own), "--trust-config"])
    from memcontrol.adapters import adapt, resolve_mask

    before = predict(unet, inputs)
    kept = {name: value.clone() for name, value in unet.state_dict().items()}
    layout, mask = resolve_mask(unet, "attention", "all")
    adapted = adapt(unet, sys.modules["own_adapter.config"].GainConfig(), layout, mask)
    assert (predict(unet, inputs) - before).abs().max() == 0
    for parameter in adapted.trainable().values():
        parameter.data.fill_(1.1)
    assert (predict(unet, inputs) - before).abs().max() > 1e-4
    with adapted.as_base():
        assert (predict(unet, inputs) - before).abs().max() == 0
    ejected = adapted.eject().state_dict()
    assert all(kept[name].equal(ejected[name]) for name in kept)
