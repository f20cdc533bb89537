"""Gradients of patients: one for each, clipped, and summed.

A patient's gradient is that of the mean loss of all its samples in a step, over all that is trained. Patients are gone
through one after the other, or several at once: then the parameters' gradients are made for each of them from what came
into the layers that hold parameters, and what gradients came out (one backward pass for all, which stops at these
layers). Both are the same up to rounding.

Why no library does it: Opacus clips examples and not patients, replaces Lightning's training step, and has to be taught
each kind of layer, of which SVDiff and DiffFit bring their own.

References:
    Lee and Kifer, "Scaling up differentially private deep learning with fast per-example gradient clipping", PoPETs
    2021, https://arxiv.org/abs/2009.03106 (from inputs and gradients of layers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor, nn
from torch.func import functional_call, vjp, vmap

from memcontrol.diffusion.recording import Call, recording
from memcontrol.errors import GuaranteeError

__all__ = ["ClippedSums", "PatientLosses", "clip_factors", "clipped", "clipped_sums", "units_of"]

PatientLosses = Callable[[int, int], Tensor]
"""Takes the first patient and the one after the last, and returns their mean losses, with shape `(patients,)`."""
ClippedSums = dict[str, Tensor]
"""Sum of the clipped gradients of patients, by parameter, in single precision."""


@runtime_checkable
class ByGroup(Protocol):
    """A layer that knows a cheaper way to the gradients of groups of a batch."""

    def gradients_by_group(self, x: Tensor, outgoing: Tensor, groups: int) -> dict[str, Tensor] | None:
        """Return gradients by the parameter's name, with shape `(groups, ...)`, or None where it knows none."""


CONTAINERS = (nn.ParameterDict, nn.ParameterList, nn.ModuleDict, nn.ModuleList)
"""Modules that hold others and are never called."""


def clipped_sums(
    module: nn.Module,
    trained: Mapping[str, nn.Parameter],
    losses: PatientLosses,
    patients: int,
    clip: float,
    microbatch: int = 1,
) -> ClippedSums:
    """Return the sum over patients of their gradients, each shortened to a norm of at most `clip`.

    A patient whose gradient is not finite adds nothing: it may not add more than `clip`.

    Args:
        module: What is trained.
        trained: Its trained parameters, by name.
        losses: Runs the module on patients whose samples lie one after the other, as many of each.
        patients: Number of patients; 0 gives zeros.
        clip: Largest norm of a patient's gradient.
        microbatch: Patients at once; it takes memory for so many gradients.

    Raises:
        GuaranteeError: If several at once are asked for, and a layer mixes what comes in.
    """
    sums = {name: torch.zeros_like(p, dtype=torch.float32) for name, p in trained.items()}
    units = units_of(module, trained) if microbatch > 1 else {}
    for start in range(0, patients, microbatch):
        stop = min(start + microbatch, patients)
        torch.clear_autocast_cache()  # a weight that was cast belongs to the graph of the last patients
        if microbatch == 1:
            gradients = _of_one(trained, losses(start, stop))
        else:
            gradients = _of_several(module, units, losses, start, stop)
        for name, summed in clipped(gradients, clip).items():
            sums[name] += summed
    return sums


def _of_one(trained: Mapping[str, nn.Parameter], loss: Tensor) -> dict[str, Tensor]:
    """Return one patient's gradients, with shape `(1, ...)`."""
    found = torch.autograd.grad(loss.sum(), list(trained.values()), allow_unused=True)
    return {name: g[None].float() for name, g in zip(trained, found, strict=True) if g is not None}


def _of_several(
    module: nn.Module, units: Mapping[str, list[str]], losses: PatientLosses, start: int, stop: int
) -> dict[str, Tensor]:
    """Return several patients' gradients, with shape `(patients, ...)`."""
    with recording({unit: module.get_submodule(unit) for unit in units}) as seen:
        loss = losses(start, stop).sum()
    calls = [(unit, call) for unit, of_unit in seen.items() for call in of_unit]
    gradients = torch.autograd.grad(loss, [call.out for _, call in calls], allow_unused=True)
    found: dict[str, Tensor] = {}
    with torch.no_grad():
        for (unit, call), gradient in zip(calls, gradients, strict=True):
            if gradient is None:
                continue
            for name, of_patients in _of_call(module.get_submodule(unit), units[unit], call, gradient, stop - start):
                whole = f"{unit}.{name}" if unit else name
                found[whole] = found[whole] + of_patients if whole in found else of_patients
    return found


def _of_call(
    unit: nn.Module, names: list[str], call: Call, gradient: Tensor, patients: int
) -> Iterator[tuple[str, Tensor]]:
    """Yield the gradient of each of a unit's parameters for each patient, from one call."""
    parameters = {name: unit.get_parameter(name).detach() for name in names}
    if isinstance(unit, ByGroup) and not call.options:
        _by_patient(call.given[0], patients, unit)  # refused if it is not one part for each
        found = unit.gradients_by_group(call.given[0].detach(), gradient, patients)
        if found is not None:
            yield from found.items()
            return
    given = [_by_patient(value, patients, unit) for value in call.given]
    options = {name: _by_patient(value, patients, unit) for name, value in call.options.items()}
    outgoing = _by_patient(gradient, patients, unit)
    if type(unit) is nn.Linear and not options:
        yield from _of_linear(parameters, given[0], outgoing)
        return

    def of_one(given: list[Any], options: dict[str, Any], outgoing: Tensor) -> dict[str, Tensor]:
        pull = vjp(lambda p: functional_call(unit, p, tuple(given), options), parameters)[1]
        (found,) = pull(outgoing)
        return {name: g.float() for name, g in found.items()}

    over = [0 if isinstance(value, Tensor) else None for value in given]
    over_options = {name: 0 if isinstance(value, Tensor) else None for name, value in options.items()}
    with torch.enable_grad():  # layers choose a form that can be trained
        try:
            found = vmap(of_one, in_dims=(over, over_options, 0))(given, options, outgoing)
        except RuntimeError:  # a layer that looks at values, or draws numbers, to choose what it computes
            each = [
                _alone(unit, parameters, _at(given, row), _at(options, row), outgoing[row]) for row in range(patients)
            ]
            found = {name: torch.stack([of_patient[name] for of_patient in each]) for name in names}
    yield from found.items()


def _alone(
    unit: nn.Module, parameters: Mapping[str, Tensor], given: list[Any], options: dict[str, Any], outgoing: Tensor
) -> dict[str, Tensor]:
    """Return the gradient of a unit's parameters for one patient."""
    free = {name: value.clone().requires_grad_() for name, value in parameters.items()}
    out = functional_call(unit, free, tuple(given), options)
    found = torch.autograd.grad(out, list(free.values()), outgoing, allow_unused=True)
    return {n: (torch.zeros_like(p) if g is None else g).float() for (n, p), g in zip(free.items(), found, strict=True)}


def _at(values: Any, row: int) -> Any:
    """Return one patient's part of what a layer is given."""
    if isinstance(values, dict):
        return {name: _at(value, row) for name, value in values.items()}
    if isinstance(values, list):
        return [_at(value, row) for value in values]
    return values[row] if isinstance(values, Tensor) else values


def _of_linear(parameters: Mapping[str, Tensor], given: Tensor, outgoing: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Yield the gradients of a linear layer, by one multiplication of matrices for each patient."""
    rows, columns = outgoing.flatten(1, -2), given.flatten(1, -2).to(outgoing.dtype)
    if "weight" in parameters:
        yield "weight", torch.bmm(rows.transpose(1, 2), columns).float()
    if "bias" in parameters:
        yield "bias", rows.float().sum(dim=1)


def _by_patient(value: Any, patients: int, unit: nn.Module) -> Any:
    """Give a tensor a first dimension of patients: `(patients, samples, ...)`."""
    if not isinstance(value, Tensor):
        return value
    if value.ndim == 0 or len(value) % patients or (patients > 1 and len(value) < patients):
        raise GuaranteeError(
            f"A layer of the kind {type(unit).__name__} is given {tuple(value.shape)}, which is not one part for "
            f"each of {patients} patients, so their gradients cannot be told apart in one pass. Set "
            "`model.privacy.microbatch: 1`, which goes through patients one after the other."
        )
    return value.detach().unflatten(0, (patients, -1))


def clipped(gradients: Mapping[str, Tensor], clip: float) -> ClippedSums:
    """Return the sum of patients' gradients after each was clipped.

    Args:
        gradients: Gradients by parameter, with shape `(patients, ...)`.
        clip: Largest norm of a patient's gradient over all of them.
    """
    if not gradients:
        return {}
    squares = torch.stack([g.flatten(1).square().sum(dim=1, dtype=torch.float64) for g in gradients.values()]).sum(0)
    factors = clip_factors(squares.sqrt(), clip).float()
    kept = factors > 0
    with torch.autocast(factors.device.type, enabled=False):  # else the sum is rounded, and longer than the clip
        return {
            name: torch.tensordot(factors, torch.where(kept.view(-1, *[1] * (g.ndim - 1)), g, 0.0), dims=1)
            for name, g in gradients.items()
        }


def clip_factors(norms: Tensor, clip: float) -> Tensor:
    """Return what gradients are multiplied by, so that none is longer than the clip.

    Args:
        norms: Norms of patients' gradients, with shape `(patients,)`.
        clip: Largest norm that is let pass.

    Returns:
        Factors in [0, 1], with shape `(patients,)`; 0 for what is not finite.
    """
    return torch.where(norms.isfinite(), (clip / norms.clamp_min(1e-30)).clamp_max(1.0), 0.0)


def units_of(module: nn.Module, trained: Iterable[str]) -> dict[str, list[str]]:
    """Return the layers that hold trained parameters, with the parameters' names within them.

    A layer is the module next to a parameter that is called, and not a mere container; of layers within each other the
    outer one counts.
    """
    holders = {name: _holder(module, name) for name in trained}
    known = set(holders.values())
    units: dict[str, list[str]] = {}
    for name, holder in holders.items():
        unit = next(outer for outer in _outwards(holder) if outer in known)
        units.setdefault(unit, []).append(name.removeprefix(f"{unit}.") if unit else name)
    return units


def _outwards(path: str) -> Iterator[str]:
    """Yield the modules around a module and itself, from the root inwards."""
    parts = path.split(".") if path else []
    for depth in range(len(parts) + 1):
        yield ".".join(parts[:depth])


def _holder(module: nn.Module, name: str) -> str:
    """Return the module that computes with a parameter."""
    path = name.rpartition(".")[0]
    while path and isinstance(module.get_submodule(path), CONTAINERS):
        path = path.rpartition(".")[0]
    return path
