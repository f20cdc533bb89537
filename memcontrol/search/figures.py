"""Figures of a study, as PNG bytes."""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np

from memcontrol.figures import png
from memcontrol.rewards.objective import loss_of
from memcontrol.search.bayes import PairwiseModel, features
from memcontrol.search.front import FrontPoint, volume_over_trials
from memcontrol.search.records import TrialRecord

__all__ = ["front_plot", "importance_plot", "masks_plot", "parallel_plot", "volume_plot"]


def front_plot(
    records: Sequence[TrialRecord], points: Sequence[FrontPoint], objectives: Sequence[str], best: FrontPoint | None
) -> bytes:
    """Draw all validations, and the front with intervals and trial numbers (two objectives)."""
    figure, axes = plt.subplots(figsize=(6.5, 4.5))
    every = [(p.measures.get(objectives[0]), p.measures.get(objectives[-1])) for r in records for p in r.points]
    both = [(a["value"], b["value"]) for a, b in every if a and b]
    if both:
        axes.scatter(*zip(*both, strict=True), s=14, color="#aab7b8", label="validations of all trials")
    shown = [p for p in points if objectives[0] in p.measures and objectives[-1] in p.measures]
    for point in shown:
        x, y = point.measures[objectives[0]], point.measures[objectives[-1]]
        colour = "#c0392b" if best is not None and (point.trial, point.step) == (best.trial, best.step) else "#2c7fb8"
        spread = [[[v["value"] - v["low"]], [v["high"] - v["value"]]] for v in (x, y)]
        axes.errorbar(x["value"], y["value"], xerr=spread[0], yerr=spread[1], fmt="o", color=colour, capsize=2)
        axes.annotate(
            f"{point.trial}@{point.step}", (x["value"], y["value"]), xytext=(4, 4), textcoords="offset points"
        )
    again = " (scored again)" if shown and shown[0].is_rescored else ""
    axes.errorbar([], [], fmt="o", color="#2c7fb8", label=f"front{again}, trial@step, 95 %")
    axes.errorbar([], [], fmt="o", color="#c0392b", label="picked")
    axes.set(xlabel=objectives[0], ylabel=objectives[-1])
    axes.legend(frameon=False, fontsize=8)
    return png(figure)


def volume_plot(records: Sequence[TrialRecord]) -> bytes:
    """Draw the hypervolume over trials, as a share of the last one."""
    figure, axes = plt.subplots(figsize=(5, 3))
    found = volume_over_trials(records)
    axes.step([n for n, _ in found], [v for _, v in found], where="post", marker="o", markersize=3)
    axes.set(xlabel="trial", ylabel="hypervolume / last", ylim=(0, 1.05))
    return png(figure)


def importance_plot(records: Sequence[TrialRecord], slots: Sequence[str], objectives: Sequence[str]) -> bytes | None:
    """Draw what turning each slot on changes of each reward, with two standard deviations; None with few trials."""
    told = [r for r in records if r.told is not None]
    if len(told) < 5 or not slots:
        return None
    bits = np.array([r.mask for r in told], dtype=float)
    units = np.array([r.units for r in told], dtype=float).reshape(len(told), -1)
    x, order = features(bits, units)
    losses = np.array([[loss_of(v) for v in r.told["rewards"]] for r in told])  # type: ignore[index]
    figure, panes = plt.subplots(
        1, len(objectives), figsize=(4.2 * len(objectives), 0.28 * len(slots) + 1), sharey=True
    )
    for pane, name, column in zip(np.atleast_1d(panes), objectives, losses.T, strict=True):
        mean, spread = PairwiseModel.fit(x, order, column).singles(len(slots))
        pane.barh(range(len(slots)), -mean, xerr=2 * spread, color="#2c7fb8", ecolor="#7f8c8d", height=0.6)
        pane.axvline(0, color="black", linewidth=0.8)
        pane.set(yticks=range(len(slots)), title=f"reward of {name}", xlabel="change when on (right is better)")
        pane.set_yticklabels([_short(slot) for slot in slots], fontsize=7)
        pane.invert_yaxis()
    return png(figure)


def masks_plot(points: Sequence[FrontPoint], records: Sequence[TrialRecord], slots: Sequence[str]) -> bytes | None:
    """Draw the masks of the front on the U-Net: one row per trial, one column per slot, from input to output."""
    by_number = {r.number: r for r in records}
    trials = list(dict.fromkeys(p.trial for p in sorted(points, key=lambda p: p.rewards)))
    if not trials or not slots:
        return None
    bits = np.array([by_number[t].mask for t in trials])
    figure, axes = plt.subplots(figsize=(0.42 * len(slots) + 1.5, 0.32 * len(trials) + 1.6))
    axes.imshow(bits, cmap="Blues", vmin=0, vmax=1.4, aspect="auto")
    axes.set(yticks=range(len(trials)), xticks=range(len(slots)))
    axes.set_yticklabels([f"trial {t}" for t in trials], fontsize=8)
    axes.set_xticklabels([_short(slot) for slot in slots], rotation=60, ha="right", fontsize=7)
    axes.set_xticks(np.arange(-0.5, len(slots)), minor=True)
    axes.set_yticks(np.arange(-0.5, len(trials)), minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    for side in _boundaries(slots):
        axes.axvline(side - 0.5, color="#c0392b", linewidth=1)
    return png(figure)


def parallel_plot(records: Sequence[TrialRecord], objectives: Sequence[str]) -> bytes | None:
    """Draw each trial as a line through its parameters, number of slots and told rewards, each scaled to [0, 1]."""
    told = [r for r in records if r.told is not None]
    if len(told) < 3:
        return None
    keys = list(told[0].values)
    columns = [*(k.split(".")[-1] for k in keys), "slots on", *(f"reward {n}" for n in objectives)]
    table = np.array([[*r.units, sum(r.mask), *r.told["rewards"]] for r in told], dtype=np.float64)  # type: ignore[index]
    scaled = (table - table.min(axis=0)) / (np.ptp(table, axis=0) + 1e-12)
    figure, axes = plt.subplots(figsize=(7, 3.2))
    for line in scaled:
        axes.plot(range(len(columns)), line, color=plt.get_cmap("viridis")(line[-1]), alpha=0.7)
    axes.set(xticks=range(len(columns)), ylabel="scaled; colour: last reward", yticks=[0, 1])
    axes.set_xticklabels(columns, fontsize=8)
    return png(figure)


def _short(slot: str) -> str:
    return slot.replace("_blocks", "").replace("attentions", "attn").replace("_block", "").replace("resnets", "res")


def _boundaries(slots: Sequence[str]) -> list[int]:
    sides = [slot.split("_")[0] for slot in slots]
    return [i for i in range(1, len(sides)) if sides[i] != sides[i - 1]]
