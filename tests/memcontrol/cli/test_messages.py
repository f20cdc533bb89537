"""The parser's errors, in one line with the way out."""

from __future__ import annotations

import pytest

from memcontrol.cli import main


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--trainer.max_steps=x"], "Argument `trainer.max_steps` must be a whole number, but got 'x'."),
        (
            ["--data.transform.size=1.5"],
            "Argument `data.transform.size` must be a whole number or a list of them, but got '1.5'.",
        ),
        (["--data.captions=all"], "Argument `data.captions` must be one of ['first', 'any'], but got 'all'."),
        (
            ["--seed_everything=x"],
            "Argument `seed_everything` must be `true` or `false` or a whole number, but got 'x'.",
        ),
        (["--trainer.max_step=5"], "There is no option `trainer.max_step`. Do you mean `max_steps`?"),
        (["runs/demo/version_0"], "'runs/demo/version_0' is a value without its option. Write `--ckpt_path runs/demo"),
        (["--model.optimizer.momentum=1"], "There is no option `model.optimizer.momentum`."),
        (["--data.num_worker=1"], "Argument `data` has no option 'num_worker'. Do you mean `num_workers`?"),
        (["--model.adapter=LoraConfg"], "Do you mean `LoraConfig`?"),
        (["--trainer.callbacks+=callbacks.RewardCallback"], "Do you mean `RewardsCallback`?"),
        (["--config={modle: {base: x}}"], "The config has `modle.base`, which is no option. Do you mean `model`?"),
        (["--model.optimizer.lr=none"], "Argument `model.optimizer.lr` must be a number, but got 'none'."),
    ],
    ids=str,
)
def test_a_wrong_option_is_named(capsys, options, said):
    with pytest.raises(SystemExit) as ended:
        main(["fit", "--config", "demo.yaml", *options, "--print_config"])
    assert ended.value.code == 2
    error = capsys.readouterr().err.rpartition("\nError: ")[2].strip()
    assert said in error
    assert "\n" not in error


def test_a_class_that_is_not_there_is_named_among_others(capsys):
    with pytest.raises(SystemExit):
        main(
            [
                "fit",
                "--config=demo.yaml",
                "--trainer.callbacks+=tests.killer.NotThere",
                "--trust-config",
                "--print_config",
            ]
        )
    assert "names 'tests.killer.NotThere', which cannot be used: module" in capsys.readouterr().err


def test_options_before_the_config_are_told_their_place(capsys):
    with pytest.raises(SystemExit):
        main(["fit", "--data.batch_size=4", "--config", "demo.yaml", "--print_config"])
    assert "Options of `data` stand before the config that says which class they are of." in capsys.readouterr().err


def test_a_wrong_command_is_named(capsys):
    with pytest.raises(SystemExit):
        main(["fitt", "--config", "demo.yaml"])
    assert "There is no command 'fitt'. Do you mean `fit`?" in capsys.readouterr().err
