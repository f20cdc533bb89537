"""Choices that cannot be run are refused before anything is."""

from __future__ import annotations

import json
import re

import pytest

from memcontrol.cli import main
from tests.memcontrol.search.conf import arguments, inline_workers

BIAS = {"class_path": "memcontrol.adapters.SelectiveConfig", "init_args": {"tune": "bias"}}
NORM = {"class_path": "memcontrol.adapters.SelectiveConfig", "init_args": {"tune": "norm"}}
LORA = {"class_path": "peft.LoraConfig", "init_args": {"r": 2}}


def method(**choices):
    return {"key": "model.adapter", "kind": "choice", "choices": choices}


@pytest.mark.parametrize(("parameters", "said"), [
    ([method(bias=BIAS, norm=NORM)], "'norm' of `model.adapter`.*can adapt nothing in"),
    ([method(bias=BIAS, lora=LORA),
      {"key": "model.adapter.init_args.r", "kind": "choice", "choices": [2, -3], "when": {"model.adapter": ["lora"]}}],
     "-3 of `model.adapter.init_args.r`.*(rank|positive|`r`)"),
    ([method(bias=BIAS, full={**BIAS, "init_args": {"tune": "full"}}),
      {"key": "data.transform", "kind": "choice", "choices": {"as": {}, "wrong": {"crop": "middle"}}}],
     "'wrong' of `data.transform`.*crop"),
])  # fmt: skip
def test_a_choice_that_cannot_be_run_is_refused_before_the_first_trial(tmp_path, capsys, parameters, said):
    more = ["--model.slots=parts", "--search.lr=null", f"--search.parameters={json.dumps(parameters)}"]
    with inline_workers(), pytest.raises(SystemExit):
        main([*arguments(tmp_path, 8), *more])
    told = " ".join(capsys.readouterr().err.split())
    assert re.search(said, told), told
    assert not (tmp_path / "study").exists() or not list((tmp_path / "study").iterdir())


class BegunError(Exception):
    """The study has come as far as its first trial."""


@pytest.mark.parametrize("space", [
    pytest.param("wide", marks=pytest.mark.whole), pytest.param("levers", marks=pytest.mark.whole), "private",
])  # fmt: skip
def test_the_choices_that_come_with_memcontrol_can_be_run(tmp_path, monkeypatch, space):
    def begin(*args):
        raise BegunError

    monkeypatch.setattr("memcontrol.search.run.OuterLoop", begin)
    args = arguments(tmp_path, 4, "--data.max_train_images=null")
    place = args.index("demo.yaml") + 1
    if space == "private":  # it has rewards of its own
        args = [a for a in args if not a.startswith(("--search.objectives", "--trainer.callbacks"))]
    with inline_workers(), pytest.raises(BegunError):
        main([*args[:place], "--config", f"search/{space}.yaml", *args[place:]])
