"""The claims of docs/PROTOCOL.md, each with its test.

A claim holds where its test says so, does not hold where the test of its reverse says so, and is undecided else. Holm's
correction is over the claims that were tested, for tests and for reverses.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.stats import permutation_test, spearmanr

from memcontrol.compare.methods import BASE, FULL, best_by_hand, is_configuration, is_plain
from memcontrol.compare.options import CompareOptions
from memcontrol.compare.rows import Row, p_better, p_no_worse
from memcontrol.compare.searches import SearchedFront, exchange
from memcontrol.measures.statistics.multiplicity import holm
from memcontrol.measures.statistics.pareto import dominates

__all__ = ["Claim", "judge_claims"]

LEVEL = 0.05
MASKED = re.compile(r"_(found|random\d*)$")


@dataclass(frozen=True)
class Claim:
    """A claim with its test.

    Args:
        number: Its number in the protocol.
        text: The claim.
        figure: What was found.
        p: One-sided p-value, or None where it could not be tested.
        adjusted: After Holm's correction.
        verdict: `holds`, `does not hold`, or `undecided at this n`.
    """

    number: int
    text: str
    figure: str
    p: float | None
    adjusted: float | None
    verdict: str


@dataclass(frozen=True)
class _Found:
    number: int
    text: str
    figure: str
    p: float | None = None
    reverse: float = 1.0
    """P-value of the opposite."""


def judge_claims(rows: Sequence[Row], options: CompareOptions, fronts: Sequence[SearchedFront] = ()) -> list[Claim]:
    """Test claims 1, 2, 3 (or 4, where masks were found on other data), 5 to 8, as far as there is what they need.

    Args:
        rows: All methods.
        options: Primary measures and margin.
        fronts: Fronts of searches under the primary measures; the first was rewarded for these.
    """
    by_name = {row.method: row for row in rows}
    found = [
        _capacity(rows, options),
        _peft(by_name, options),
        *(_found_mask(by_name, adapter, options) for adapter in _searched(by_name)),
        _mitigated(by_name, options),
        *([_exchanged(fronts, options)] if fronts else []),
        *(
            test(by_name, name, options)
            for name in by_name
            if is_configuration(name, by_name)
            for test in (_found_configuration, _at_its_quality)
        ),
        *(_levers(by_name, options) if options.levers else []),
    ]
    tested = [f.p for f in found if f.p is not None]
    reverses = [f.reverse for f in found if f.p is not None]
    adjusted = zip(holm(tested).tolist(), holm(reverses).tolist(), strict=True)
    return [_judged(f, *(next(adjusted) if f.p is not None else (None, 1.0))) for f in found]


def _judged(found: _Found, adjusted: float | None, reverse: float) -> Claim:
    if adjusted is not None and adjusted < LEVEL:
        verdict = "holds"
    else:
        verdict = "does not hold" if reverse < LEVEL else "undecided at this n"
    return Claim(found.number, found.text, found.figure, found.p, adjusted, verdict)


def _searched(by_name: dict[str, Row]) -> list[str]:
    found = [name for name in by_name if name.endswith("_found")]
    masks = sorted(name.removesuffix("_found") for name in found if not is_configuration(name, by_name))
    return masks or ([] if found else ["svdiff"])


def _capacity(rows: Sequence[Row], options: CompareOptions) -> _Found:
    text = "memorization rises with the number of trainable parameters"
    known = [r for r in rows if r.method != BASE and r.mitigates is None and options.memorization in r.values]
    kinds: dict[str, list[Row]] = {}
    for row in known:  # masks of one adapter are no further evidence: they are near copies of each other
        kinds.setdefault(MASKED.sub("", row.method), []).append(row)
    if len(kinds) < 5:
        return _Found(1, text, f"{len(kinds)} kinds of fine-tuning, five are needed")
    trained = [float(np.mean([r.trained for r in group])) for group in kinds.values()]
    scores = [-float(np.mean([r.reward(options.memorization) for r in group])) for group in kinds.values()]
    above, below = (_rank_test(trained, scores, alternative) for alternative in ("greater", "less"))
    figure = f"rank correlation {above.statistic:.2f} over {len(kinds)} kinds of {len(known)} methods"
    return _Found(1, text, figure, float(above.pvalue), float(below.pvalue))


def _rank_test(x: Sequence[float], y: Sequence[float], alternative: str) -> Any:
    return permutation_test(
        (x,),
        lambda order: spearmanr(order, y).statistic,
        permutation_type="pairings",
        alternative=alternative,
        n_resamples=9999,
        rng=0,
        vectorized=False,
    )


def _less_at_no_worse(a: Row, b: Row, options: CompareOptions) -> float:
    """Return the p-value of a memorizing less than b at no worse quality: both must hold."""
    return max(p_better(a, b, options.memorization), p_no_worse(a, b, options.quality, options.margin))


def _more_or_worse(a: Row, b: Row, options: CompareOptions) -> float:
    """Return the p-value of the opposite: a memorizing more than b, or its quality being worse by more than may be."""
    worse = 1 - p_no_worse(a, b, options.quality, options.margin)
    return min(1.0, 2 * min(p_better(b, a, options.memorization), worse))


def _best_of(text: str, number: int, ps: dict[str, float], reverse: float) -> _Found:
    """Return the clearest of several tests, with Bonferroni's correction."""
    best = min(ps, key=lambda name: ps[name])
    holding = sum(p * len(ps) < LEVEL for p in ps.values())
    return _Found(
        number, text, f"{holding} of {len(ps)}; clearest {best} (p = {ps[best]:.2g})", min(1.0, ps[best] * len(ps)),
        reverse,
    )  # fmt: skip


def _peft(by_name: dict[str, Row], options: CompareOptions) -> _Found:
    text = "PEFT memorizes less than full fine-tuning at no worse quality"
    full = by_name.get(FULL)
    others = [row for name, row in by_name.items() if is_plain(name) and row.mitigates is None]
    if full is None or not others:
        return _Found(2, text, "no full fine-tuning, or nothing beside it")
    ps = {row.method: _less_at_no_worse(row, full, options) for row in others}
    return _best_of(text, 2, ps, max(_more_or_worse(row, full, options) for row in others))


def _found_mask(by_name: dict[str, Row], adapter: str, options: CompareOptions) -> _Found:
    number = 4 if options.transfer else 3
    whence = "mask found on other data" if options.transfer else "found mask"
    text = f"the {whence} of {adapter} is dominated by no other row, and beats full, its own adapter and random masks"
    found = by_name.get(f"{adapter}_found")
    if found is None:
        return _Found(number, text, f"no method {adapter}_found")
    names = (options.memorization, options.quality)
    point = [found.reward(name) for name in names]
    others = [row for row in by_name.values() if row is not found]
    above = [row.method for row in others if dominates([row.reward(name) for name in names], point)]
    rivals = [r for n, r in by_name.items() if n in (FULL, adapter) or n.startswith(f"{adapter}_random")]
    ps = {rival.method: _less_at_no_worse(found, rival, options) for rival in rivals}
    beaten = [name for name, p in ps.items() if p < LEVEL]
    figure = (
        f"dominated by {', '.join(above) or 'none'}; beats {', '.join(beaten) or 'none'} of {len(ps)} rivals "
        f"(largest p = {max(ps.values(), default=np.nan):.2g})"
    )
    dominated = [max(p_better(row, found, name) for name in names) for row in others]
    unbeaten = [_more_or_worse(found, rival, options) for rival in rivals]
    reverse = min(1.0, (len(dominated) + len(unbeaten)) * min([*dominated, *unbeaten], default=1.0))
    return _Found(number, text, figure, 1.0 if above else max(ps.values(), default=1.0), reverse)


def _mitigated(by_name: dict[str, Row], options: CompareOptions) -> _Found:
    text = "adding a mitigation lowers memorization further"
    pairs = {name: by_name.get(row.mitigates or "") for name, row in by_name.items()}
    ps = {name: p_better(by_name[name], row, options.memorization) for name, row in pairs.items() if row is not None}
    if not ps:
        return _Found(5, text, "no method with a mitigation and without")
    reverse = max(p_better(row, by_name[name], options.memorization) for name, row in pairs.items() if row is not None)
    return _best_of(text, 5, ps, reverse)


def _found_configuration(by_name: dict[str, Row], name: str, options: CompareOptions) -> _Found:
    """Test claim 7: every rival in quality, and in memorization under every attack (an intersection-union test)."""
    measures = [options.memorization, *options.attacks]
    text = (
        f"the found configuration {name} is no worse than full fine-tuning and the best made by hand, and memorizes "
        f"less than each by {', '.join(measures)}"
    )
    found, chosen = by_name[name], {n: row.chosen_rewards for n, row in by_name.items() if row.chosen_rewards}
    names = dict.fromkeys(n for n in (FULL, best_by_hand(chosen, options.margin)) if n in by_name)
    rivals = [by_name[str(n)] for n in names]
    lacking = sorted(m for m in measures if any(m not in row.values for row in (found, *rivals)))
    if FULL not in names or lacking:
        return _Found(7, text, f"not measured: {lacking}" if lacking else "no full fine-tuning beside it")
    tests = {
        f"{what} against {row.method}": p
        for row in rivals
        for what, p in (
            (options.quality, p_no_worse(found, row, options.quality, options.margin)),
            *((measure, p_better(found, row, measure)) for measure in measures),
        )
    }
    worst = max(tests, key=lambda test: tests[test])
    worse = [1 - p_no_worse(found, row, options.quality, options.margin) for row in rivals]
    more = [p_better(row, found, measure) for row in rivals for measure in measures]
    reverse = min(1.0, len(tests) * min([*worse, *more]))
    shown = sum(p < LEVEL for p in tests.values())
    figure = f"{shown} of {len(tests)} tests; least clear: {worst} (p = {tests[worst]:.2g})"
    return _Found(7, text, figure, tests[worst], reverse)


def _at_its_quality(by_name: dict[str, Row], name: str, options: CompareOptions) -> _Found:
    """Test claim 10: of the rows made by hand that are as good on validation, against the one that memorizes least."""
    measures = [options.memorization, *options.attacks]
    text = f"the found configuration {name} memorizes less than any row made by hand that is as good, and is no worse"
    found, own = by_name[name], by_name[name].chosen_rewards
    by_hand = {n: row.chosen_rewards for n, row in by_name.items() if (is_plain(n) or n == FULL) and row.chosen_rewards}
    good = {n: pair for n, pair in by_hand.items() if own and pair[1] >= own[1] - options.margin * abs(own[1])}
    if not good:
        return _Found(10, text, "no row made by hand is as good on validation")
    rival = by_name[max(good, key=lambda n: tuple(good[n]))]
    shared = [m for m in measures if m in found.values and m in rival.values]
    tests = {m: p_better(found, rival, m) for m in shared}
    tests[options.quality] = p_no_worse(found, rival, options.quality, options.margin)
    both = [(m, found.mean(m), rival.mean(m)) for m in (*shared, options.quality)]
    figure = f"against {rival.method}: " + ", ".join(
        f"{m} {ours:.3g} against {theirs:.3g} (p = {tests[m]:.2g})" for m, ours, theirs in both
    )
    reverse = [1 - tests[options.quality], *(p_better(rival, found, m) for m in shared)]
    return _Found(10, text, figure, max(tests.values()), min(1.0, len(tests) * min(reverse)))


def _levers(by_name: dict[str, Row], options: CompareOptions) -> list[_Found]:
    """Test claim 8 for each lever: less memorization at no worse quality."""
    pairs = {name: by_name[row.mitigates] for name, row in by_name.items() if row.mitigates in by_name}
    found = []
    for name, row in pairs.items():
        both = [(m, by_name[name].mean(m), row.mean(m)) for m in (options.memorization, options.quality)]
        figure = ", ".join(f"{measure} {ours:.3g} against {theirs:.3g}" for measure, ours, theirs in both)
        p, reverse = _less_at_no_worse(by_name[name], row, options), _more_or_worse(by_name[name], row, options)
        found.append(_Found(8, f"{name} memorizes less than {row.method} at no worse quality", figure, p, reverse))
    return found


def _exchanged(fronts: Sequence[SearchedFront], options: CompareOptions) -> _Found:
    text = "a search with another pair of rewards gives a front as large"
    first, *others = fronts
    if not others:
        return _Found(6, text, "one search, two are needed")
    found = {front.name: exchange(first, front, options.margin) for front in others}
    figure = "; ".join(
        f"{name}: {e.share:.3g} of the first one's hypervolume, whose own interval is [{e.low:.3g}, {e.high:.3g}] of it"
        for name, e in found.items()
    )
    return _Found(
        6, text, figure, max(e.p for e in found.values()), min(e.smaller for e in found.values()) * len(found)
    )
