"""A config must not import anything that does not come with memcontrol: the parser itself refuses it."""

from __future__ import annotations

import sys

import pytest

from memcontrol.cli import build, main
from memcontrol.cli.trust import allowed_classes
from memcontrol.files.configs import CONFIGS


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A module whose import leaves a mark; nothing of these tests may import it."""
    (tmp_path / "evil.py").write_text(
        "import pathlib\npathlib.Path(__file__).with_name('ran').touch()\ndef f(*a): pass\nclass X: pass\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    assert not (tmp_path / "ran").exists()
    assert "evil" not in sys.modules


def refused(args, capsys):
    """Run a command that must be refused; returns what was said."""
    with pytest.raises(SystemExit) as ended:
        main(args)
    assert ended.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    return said


CALLBACK = "lightning.pytorch.callbacks.LambdaCallback"
HOOK = f"[{{class_path: {CALLBACK}, init_args: {{setup: evil.f}}}}]"
TREES = {
    "class path": "model: {class_path: evil.X}\n",
    "block text that is parsed again": "trainer: |\n  logger: {class_path: evil.X}\n",
    "block text of a class": "model: |\n  class_path: evil.X\n",
    "callable": f"trainer: {{callbacks: {HOOK}}}\n",
    "callable in dict_kwargs": f"trainer: {{callbacks: {HOOK.replace('init_args', 'dict_kwargs')}}}\n",
    "builtin callable": f"trainer: {{callbacks: {HOOK.replace('evil.f', 'os.system')}}}\n",
    "module reached through a trusted one": "model: {class_path: torch.os.system}\n",
    "class of a trusted package that is not on the list": "model: {class_path: torch.nn.Linear}\n",
    "function of a trusted package": "model: {class_path: torch.hub.load}\n",
    "text in the place of a class": "trainer: {logger: evil.X}\n",
    "adapter": "model: {adapter: {class_path: evil.X}}\n",
    "short name of a logger that sends": "trainer: {logger: {class_path: WandbLogger}}\n",
    "executor": "search: {executor: {class_path: memcontrol.jobs.parsl.ParslWorkers}}\n",
    "nested file": "model: inner.yaml\n",
    "nested file of any suffix": "model: inner.txt\n",
    "item of a list in a file": "trainer: {callbacks: [inner.yaml]}\n",
    "gadget in an untyped place": (
        "trainer: {callbacks: [{class_path: callbacks.RewardsCallback, init_args: {scoring: {encoder: {class_path: "
        "memcontrol.measures.encoders.ModuleEncoder, init_args: {network: {class_path: torch.nn.Linear, init_args: "
        "{in_features: 1, out_features: 1, device: {class_path: evil.X}}}}}}}}]}\n"
    ),
}


@pytest.mark.parametrize("tree", TREES.values(), ids=TREES)
def test_a_file_is_refused(evil, capsys, tree):
    for name in ("inner.yaml", "inner.txt"):
        (evil / name).write_text("class_path: evil.X\n")
    (evil / "config.yaml").write_text(tree)
    command = "search" if "search:" in tree else "fit"
    refused([command, "--config", "demo.yaml", "--config", "config.yaml", "--print_config"], capsys)


@pytest.mark.parametrize(
    "options",
    [
        ["--model=evil.X"],
        ["--trainer.callbacks+=evil.X"],
        ["--trainer.logger=evil.X"],
        ["--data=evil.X"],
        ["--data.class_path", "evil.X"],
        ["--config", "{model: {class_path: evil.X}}"],
        ["--config", "http://localhost:9/x.yaml"],
        ["--config", "file:///etc/hostname"],
    ],
    ids=str,
)
def test_an_option_is_refused(evil, capsys, options):
    refused(["fit", "--config", "demo.yaml", *options, "--print_config"], capsys)


def test_the_way_out_is_said(evil, capsys):
    said = refused(["fit", "--config", "demo.yaml", "--model=evil.X"], capsys)
    assert "evil.X" in said
    assert "add `--trust-config`" in said


def test_trust_is_given_on_the_command_line_alone(evil, capsys):
    (evil / "config.yaml").write_text("trust_config: true\n")
    said = refused(["fit", "--config", "demo.yaml", "--config", "config.yaml"], capsys)
    assert "on the command line only" in said


def test_extensions_need_trust(evil, capsys):
    said = refused(["fit", "--config", "demo.yaml", "--extensions=[evil.py]"], capsys)
    assert "add `--trust-config`" in said


def test_trust_ends_with_the_command(tmp_path, monkeypatch, capsys):
    (tmp_path / "friend.py").write_text("from lightning.pytorch import Callback\nclass Quiet(Callback): pass\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    args = ["--config", "demo.yaml", "--trainer.logger=false", "--trainer.callbacks=[friend.Quiet]"]
    cli = build([*args, "--trust-config"])
    assert any(type(c).__name__ == "Quiet" for c in cli.trainer.callbacks)
    assert "friend.Quiet" in refused(["fit", *args], capsys)


def overlays():
    alone = ("sweep.yaml",)
    return [path for path in sorted(CONFIGS.rglob("*.yaml")) if path.name not in alone]


@pytest.mark.whole
@pytest.mark.parametrize("command", ["fit", "search", "compare", "audit"])
def test_shipped_configs_need_no_trust(command, capsys):
    """Each is parsed as the command that its folder is for, over a config that it can stand on."""
    of = {"search": "search", "compare": "compare", "audit": "audit"}
    for path in overlays():
        folder = path.relative_to(CONFIGS).parts[0]
        is_method = path.parent.name in ("methods", "found")
        wanted = "fit" if is_method else of.get(folder, "fit")
        if path.stem.startswith("cxr_search"):
            wanted = "search"
        if wanted != command:
            continue
        needed = {"audit": ["--ckpt_path=[x]"]}.get(command, [])
        given = [] if folder in ("demo.yaml", "cxr.yaml", "mimic.yaml", "base.yaml") else ["--config", "demo.yaml"]
        text = path.read_text()
        roots = ["--data.root=x"] if "ImageFolder" in text or "MimicCxr" in text else []
        roots += ["--data.reports=x"] if "MimicCxr" in text else []
        with pytest.raises(SystemExit) as ended:
            main([command, *given, "--config", str(path), *roots, *needed, "--print_config"])
        assert ended.value.code == 0, (path, capsys.readouterr().err)
        capsys.readouterr()


def test_the_list_holds_no_class_that_takes_anything():
    """A parameter without a type, or of any type, would be a place to name other classes in."""
    assert all(kind.__module__.split(".")[0] in ("memcontrol", "lightning", "peft", "torchmetrics")
               for kind in allowed_classes())  # fmt: skip
    assert not {"LambdaCallback", "WandbLogger"} & {kind.__name__ for kind in allowed_classes()}
