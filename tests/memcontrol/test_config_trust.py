"""A config must not import anything outside the trusted packages."""

from __future__ import annotations

import sys

import pytest

from memcontrol.config_trust import check_config
from memcontrol.errors import UntrustedConfigError


@pytest.fixture
def evil(tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\ndef f(*a): pass\nclass X: pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "ran").exists()
    assert "evil" not in sys.modules


CALLBACK = "lightning.pytorch.callbacks.LambdaCallback"
TREES = {
    "class path": "model:\n  class_path: evil.X\n",
    "callable": f"trainer:\n  callbacks:\n    - class_path: {CALLBACK}\n      init_args:\n        setup: evil.f\n",
    "callable in dict_kwargs": (
        f"trainer:\n  callbacks:\n    - class_path: {CALLBACK}\n      dict_kwargs:\n        setup: evil.f\n"
    ),
    "builtin callable": (
        f"trainer:\n  callbacks:\n    - class_path: {CALLBACK}\n      init_args:\n        setup: os.system\n"
    ),
    "module reached through a trusted one": "model:\n  class_path: torch.os.system\n",
    "under a subcommand": "fit:\n  data:\n    class_path: evil.X\n",
    "text in the place of a class": "trainer:\n  logger: evil.X\n",
    "adapter": "model:\n  adapter:\n    class_path: evil.X\n",
    "wrong place": "model:\n  class_path: torch.nn.Linear\n",
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_file_is_refused(evil, tree):
    (evil / "config.yaml").write_text(tree)
    with pytest.raises(UntrustedConfigError, match=r"outside the trusted|no subclass"):
        check_config(["fit", "--config", "config.yaml", "--print_config"])


def test_nested_file_is_refused(evil):
    (evil / "inner.yaml").write_text("class_path: evil.X\n")
    (evil / "config.yaml").write_text("model: inner.yaml\n")
    with pytest.raises(UntrustedConfigError):
        check_config(["fit", "--config=config.yaml"])


@pytest.mark.parametrize(
    "option",
    ["--model=evil.X", "--trainer.callbacks+=evil.X", "--trainer.logger=evil.X", "--fit.model=evil.X", "--data=evil.X"],
)
def test_command_line_is_refused(evil, option):
    with pytest.raises(UntrustedConfigError):
        check_config(["fit", option])
    with pytest.raises(UntrustedConfigError):
        check_config(["fit", *option.split("=", 1)])


def test_inline_config_is_refused(evil):
    with pytest.raises(UntrustedConfigError):
        check_config(["fit", "--config", "{model: {class_path: evil.X}}"])


def test_shipped_configs_are_trusted():
    from memcontrol.config_files import CONFIGS

    for path in (p for p in CONFIGS.rglob("*.yaml") if p.name not in ("sweep.yaml", "slurm.yaml")):
        check_config(["fit", "--config", str(path)])
    with pytest.raises(UntrustedConfigError, match="parsl"):  # it names shell commands
        check_config(["search", "--config", str(CONFIGS / "search" / "slurm.yaml")])


def test_plain_places_take_dotted_text(evil):
    check_config(
        [
            "fit",
            "--config",
            "{data: {class_path: memcontrol.data.imagefolder.ImageFolderDataModule, init_args: {root: evil.f}}}",
        ]
    )


DATA = "{data: {class_path: memcontrol.data.prepared.PreparedTableDataModule}}"


@pytest.mark.parametrize(
    "options",
    [
        ["predict", "--prompts_file", "evil.csv"],
        ["predict", "--prompts_file=evil.csv"],
        ["predict", "--predict.prompts_file=evil.csv"],
        ["predict", "--prompts", "[evil.csv, evil.f]"],
        ["fit", "--config", DATA, "--data.table", "evil.csv"],
        ["fit", "--data.table", "evil.parquet", "--data=PreparedTableDataModule"],
        ["fit", "--config", DATA, "--config", "{data: {init_args: {table: evil.tsv}}}"],
        ["fit", "--model.base=evil.f"],
    ],
)
def test_a_table_may_be_called_like_a_module(evil, options):
    import memcontrol.data.prepared  # noqa: F401 - short class names resolve

    check_config(options)


@pytest.mark.parametrize(
    "options",
    [
        ["fit", "--data.table", "evil.csv"],  # no class is named, so its parameter may be anything
        ["fit", "--config", DATA, "--data=evil.csv"],
        ["fit", "--config", DATA, "--data.class_path=evil.csv"],
        ["fit", "--config", DATA, "--dat=Unheard", "--data.table", "evil.csv"],
        ["fit", "--config", DATA, "--data.nothing=evil.csv"],
        ["fit", "--model.adapter=evil.csv"],
        ["fit", "--trainer.logger=evil.csv"],
        ["plant", "--encoders=[evil.csv]"],
        ["predict", "--unheard=evil.csv"],
    ],
)
def test_a_name_that_ends_like_a_table_is_refused_where_it_could_be_imported(evil, options):
    (evil / "evil.csv").touch()
    with pytest.raises(UntrustedConfigError):
        check_config(options)


def test_trusting_is_explicit(evil):
    check_config(["fit", "--trust-config", "--model=evil.X"])
