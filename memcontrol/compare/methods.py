"""Methods are config overlays; masks found by `search` and random ones of equal size are made into overlays."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from memcontrol.compare.options import CompareOptions
from memcontrol.errors import SearchError
from memcontrol.files.configs import CONFIGS
from memcontrol.plain import read_mapping
from memcontrol.seeds import derive_seed

__all__ = ["BASE", "FULL", "Method", "best_by_hand", "is_configuration", "is_plain", "methods_of"]

BASE = "base"
FULL = "full"


@dataclass(frozen=True)
class Method:
    """A row of the comparison.

    Args:
        name: Its name.
        overlay: Its config, or None for the untouched base.
        lr_factor: What the comparison's learning rates are multiplied with.
        mitigates: The method that this one adds a mitigation to: the one that its overlay names (`# lever_of: full`),
            or its name without the last part, where the overlay names `model.mitigations`.
        lr: Learning rate of a found configuration, which is taken as it stands: nothing is chosen.
    """

    name: str
    overlay: Path | None
    lr_factor: float = 1.0
    mitigates: str | None = None
    lr: float | None = None

    def lrs(self, lrs: Sequence[float]) -> list[float]:
        """Return the learning rates that it is tried with, of a comparison's."""
        return [self.lr] if self.lr is not None else [lr * self.lr_factor for lr in lrs]


def is_plain(name: str) -> bool:
    """Whether a method is an adapter as it comes: no mask of a search, and no random one."""
    suffix = name.rpartition("_")[2]
    return name not in (BASE, FULL) and not (suffix == "found" or suffix.startswith("random"))


def is_configuration(name: str, names: Container[str]) -> bool:
    """Whether a method is a whole configuration that a study found, and not the mask of another one of these."""
    return name.endswith("_found") and name.removesuffix("_found") not in names


def methods_of(options: CompareOptions, folder: Path) -> list[Method]:
    """Return the methods of a comparison, the base first; overlays that are made here go to `folder`.

    Raises:
        SearchError: If a path does not exist, two methods have one name, or a found mask has no method or no bits.
    """
    found = {file.stem: _method(file) for file in _files(options.methods)}
    made = []
    for name, study in options.found.items():
        whole = _configuration(name, _existing(study))
        if whole is not None:
            made.append(whole)
            continue
        if name not in found:
            raise SearchError(
                f"Argument `compare.found` has a mask for {name!r}, which is no method. Allowed are {sorted(found)}."
            )
        made += _masked(found[name], _existing(study), options.random_masks, folder)
    return [Method(BASE, None), *(m for m in found.values() if m.name != BASE), *made]


def best_by_hand(rewards: Mapping[str, Sequence[float]], margin: float) -> str | None:
    """Return the best method that somebody made by hand, by the rule that chooses among the trials of one method.

    Args:
        rewards: Rewards of memorization and quality of each method, at what was chosen on validation patients.
        margin: Methods whose quality is worse than the best by less than this share count as equally good.
    """
    by_hand = {name: found for name, found in rewards.items() if is_plain(name)}
    if not by_hand:
        return None
    best = max(quality for _, quality in by_hand.values())
    good = {name: pair for name, pair in by_hand.items() if pair[1] >= best - margin * abs(best)}
    return max(good, key=lambda name: tuple(good[name]))


def _configuration(name: str, overlay: Path) -> Method | None:
    """Return a found configuration as it stands, or None where a study searched the mask of one method."""
    model = _part(read_mapping(overlay, SearchError), "model", overlay)
    if "adapter" not in model:
        return None
    lr = _part(model, "optimizer", overlay).get("lr")
    if not isinstance(lr, int | float) or not lr > 0:
        raise SearchError(
            f"{overlay} names an adapter but no learning rate (`model.optimizer.lr`). Give the best.yaml, or a "
            "masks/NNN.yaml, of a study."
        )
    return Method(f"{name}_found", overlay, lr=float(lr))


def _files(names: list[str]) -> list[Path]:
    files: dict[str, Path] = {}
    for name in names:
        path = _existing(name)
        overlays = sorted(path.glob("*.yaml")) if path.is_dir() else [path]
        if not overlays:
            raise SearchError(f"`compare.methods` names the folder {name!r}, which holds no overlay (*.yaml).")
        for file in overlays:
            if file.stem in files:
                raise SearchError(f"Two methods are called {file.stem!r}: {files[file.stem]} and {file}. Rename one.")
            files[file.stem] = file
    return list(files.values())


def _existing(name: str) -> Path:
    path = next((p for p in (Path(name), CONFIGS / name) if p.exists()), None)
    if path is None:
        raise SearchError(f"`compare` names the overlay {name!r}, which is neither here nor in configs/.")
    return path


def _method(overlay: Path) -> Method:
    model = _part(read_mapping(overlay, SearchError), "model", overlay)
    sampling = _part(model, "sampling", overlay)
    at_inference = (sampling.get(name) for name in ("mitigations", "guidance_start", "prompt_optimization"))
    is_mitigated = any([model.get("mitigations"), *at_inference])
    stem = overlay.stem.rpartition("_")[0]
    mitigates = _said(overlay, "lever_of") or (stem or None if is_mitigated else None)
    return Method(overlay.stem, overlay, _factor(overlay), mitigates)


def _part(tree: dict[str, Any], name: str, overlay: Path) -> dict[str, Any]:
    part = tree.get(name) or {}
    if not isinstance(part, dict):
        raise SearchError(f"The overlay {overlay} has `{name}: {part!r}`. Allowed is a mapping of options to values.")
    return part


def _factor(overlay: Path) -> float:
    """Read `# lr_factor: x` of a method's overlay: full fine-tuning wants smaller steps than 15,000 shifts do."""
    text = _said(overlay, "lr_factor")
    if text is None:
        return 1.0
    with suppress(ValueError):
        if 0 < float(text) < math.inf:
            return float(text)
    raise SearchError(f"The overlay {overlay} says `# lr_factor: {text}`. Allowed is a number above 0.")


def _said(overlay: Path, name: str) -> str | None:
    """Return what an overlay says of itself in a comment `# name: text`."""
    lines = overlay.read_text().splitlines()
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith(f"# {name}:")), None)


def _masked(method: Method, study: Path, num_random: int, folder: Path) -> list[Method]:
    """Return the method under the mask of a study's overlay, and under random masks with as many bits."""
    mask = _part(read_mapping(study, SearchError), "model", study).get("mask")
    if not isinstance(mask, list) or not all(bit in (0, 1) for bit in mask):
        raise SearchError(
            f"{study} has no `model.mask` of bits. Give the best.yaml, or a masks/NNN.yaml, of a study that searched a "
            "mask."
        )
    masks = {f"{method.name}_found": mask}
    for number, other in enumerate(_random_masks(mask, num_random, method.name), 1):
        masks[f"{method.name}_random{number}"] = other
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for name, bits in masks.items():
        assert method.overlay is not None
        tree = read_mapping(method.overlay, SearchError)
        tree["model"] = {**_part(tree, "model", method.overlay), "mask": bits}
        path = folder / f"{name}.yaml"
        path.write_text(f"# lr_factor: {method.lr_factor}\n{yaml.safe_dump(tree, sort_keys=False)}")
        made.append(Method(name, path, method.lr_factor))
    return made


def _random_masks(mask: list[int], count: int, name: str) -> list[list[int]]:
    """Return distinct masks with as many bits, none of them `mask`; fewer where there are no more."""
    rng = np.random.default_rng(derive_seed(0, f"random masks of {name}"))
    found: list[list[int]] = []
    for _ in range(1000 * count):
        other: list[Any] = rng.permutation(mask).tolist()
        if other != mask and other not in found:
            found.append(other)
        if len(found) == count:
            break
    return found
