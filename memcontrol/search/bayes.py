r"""A proposer for masks: Bayesian linear regression with pairwise terms, and Thompson sampling.

Each objective is modelled over bits :math:`b_i \in \{-1, 1\}` and parameters :math:`z_k \in [-1, 1]` as

.. math:: f = w_0 + \sum_i w_i b_i + \sum_k (v_k z_k + u_k z_k^2) + \sum_{i<j} w_{ij} b_i b_j + \sum_{ik} v_{ik} b_i z_k

with Gaussian priors, tighter for pairs than for single terms; their scales and the noise are those of the highest
marginal likelihood on a grid. To propose, weights are sampled from the posterior of each objective, and a random
Tchebycheff weighting of the sampled functions is minimised, so that proposals spread along the front.

References:
    Baptista and Poloczek, "Bayesian optimization of combinatorial structures", ICML 2018,
    https://arxiv.org/abs/1806.08838 (the model of pairwise terms).
    Paria et al., "A flexible framework for multi-objective Bayesian optimization using random scalarizations",
    UAI 2019, https://arxiv.org/abs/1805.12168 (Thompson sampling with random weights).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from nevergrad.optimization import base
from nevergrad.parametrization import parameter as p

__all__ = ["NAME", "PairwiseModel", "PairwiseThompson"]

NAME = "PairwiseThompson"
Floats = np.ndarray


def features(bits: Floats, units: Floats) -> tuple[Floats, Floats]:
    """Return the terms of the model, and the order of each (0: constant, 1: single, 2: pair or square).

    Args:
        bits: 0 and 1, with shape `(n, B)`.
        units: Numbers in [0, 1], with shape `(n, K)`.
    """
    b, z = 2.0 * bits - 1, 2.0 * units - 1
    columns = [np.ones((len(b), 1)), b, z]
    i, j = np.triu_indices(b.shape[1], 1)
    pairs = [b[:, i] * b[:, j], z**2, (b[:, :, None] * z[:, None, :]).reshape(len(b), -1)]
    k, m = np.triu_indices(z.shape[1], 1)
    pairs.append(z[:, k] * z[:, m])
    order = [0] + [1] * (b.shape[1] + z.shape[1]) + [2] * sum(part.shape[1] for part in pairs)
    return np.concatenate([*columns, *pairs], axis=1), np.array(order)


@dataclass(frozen=True)
class PairwiseModel:
    """Posterior of one objective.

    Args:
        mean: Posterior mean of the weights, with shape `(F,)`.
        factor: Matrix whose product with its transpose is their covariance, with shape `(F, F)`.
        centre: Mean of the objective, which the weights leave out.
        scale: Spread of the objective, which the weights are in units of.
    """

    mean: Floats
    factor: Floats
    centre: float
    scale: float

    @classmethod
    def fit(cls, x: Floats, order: Floats, y: Floats) -> PairwiseModel:
        """Fit terms with shape `(n, F)` to values with shape `(n,)`."""
        centre, scale = float(np.mean(y)), float(np.std(y)) or 1.0
        target = (y - centre) / scale
        best: tuple[float, Floats, float] | None = None
        for single in (0.02, 0.08, 0.3):
            for pair in (0.02, 0.1, 0.4):
                prior = np.select([order == 0, order == 1], [1.0, single], single * pair)
                kernel = (x * prior) @ x.T
                for noise in (0.02, 0.1, 0.3, 0.7):
                    covariance = kernel + noise * np.eye(len(x))
                    _, logdet = np.linalg.slogdet(covariance)
                    evidence = -0.5 * (logdet + target @ np.linalg.solve(covariance, target))
                    if best is None or evidence > best[0]:
                        best = (evidence, prior, noise)
        assert best is not None
        _, prior, noise = best
        precision = x.T @ x / noise + np.diag(1 / prior)
        root = np.linalg.inv(np.linalg.cholesky(precision))
        mean = root.T @ (root @ (x.T @ target / noise))
        return cls(mean, root.T, centre, scale)

    def sample(self, rng: np.random.Generator) -> Floats:
        """Sample weights from the posterior, in the objective's own units but for its centre."""
        sampled: Floats = self.scale * (self.mean + self.factor @ rng.standard_normal(len(self.mean)))
        return sampled

    def singles(self, num_bits: int) -> tuple[Floats, Floats]:
        """Return mean and standard deviation of what turning each bit on changes, in the objective's units."""
        chosen = slice(1, 1 + num_bits)
        spread = np.sqrt((self.factor**2).sum(axis=1))
        return 2 * self.scale * self.mean[chosen], 2 * self.scale * spread[chosen]


class PairwiseThompson(base.Optimizer):
    """The proposer as an optimizer of nevergrad, for spaces of `SearchSpace.parametrization`."""

    takes_reference = False
    """It takes the losses themselves; see `Proposer.tell`."""

    def __init__(self, parametrization: Any, budget: int | None = None, num_workers: int = 1) -> None:
        super().__init__(parametrization, budget=budget, num_workers=num_workers)
        self._known: list[tuple[Floats, Floats, Floats]] = []
        self.num_random = 4
        self.num_candidates = 2048

    def _parts(self, value: Any) -> tuple[Floats, Floats]:
        return np.array(value.get("mask", ()), dtype=float), np.atleast_1d(
            np.array(value.get("units", ()), dtype=float)
        )

    def _internal_tell_candidate(self, candidate: p.Parameter, loss: float) -> None:
        bits, units = self._parts(candidate.value)
        self._known.append((bits, units, np.atleast_1d(np.array(candidate.losses, dtype=float))))

    def _internal_tell_not_asked(self, candidate: p.Parameter, loss: float) -> None:
        self._internal_tell_candidate(candidate, loss)

    def _internal_ask_candidate(self) -> p.Parameter:
        rng = np.random.default_rng(self.parametrization.random_state.randint(2**31))
        num_bits, num_units = (len(part) for part in self._parts(self.parametrization.value))
        if len(self._known) < self.num_random:
            return self._child(rng.integers(0, 2, num_bits), rng.random(num_units))
        bits, units, losses = (np.stack(column) for column in zip(*self._known, strict=True))
        x, order = features(bits, units)
        weights = [PairwiseModel.fit(x, order, column).sample(rng) for column in losses.T]
        spread = losses.std(axis=0) + 1e-12
        preference = rng.dirichlet(np.ones(losses.shape[1]))

        def score(b: Floats, u: Floats) -> Floats:
            sampled = np.stack([features(b, u)[0] @ w for w in weights], axis=1) / spread
            weighted = preference * (sampled - reference)
            found: Floats = weighted.max(axis=1) + 0.05 * weighted.sum(axis=1)
            return found

        candidates = self._candidates(rng, bits, units)
        sampled = np.stack([features(*candidates)[0] @ w for w in weights], axis=1) / spread
        reference = sampled.min(axis=0)
        return self._child(*self._climb(score, *candidates))

    def _candidates(self, rng: np.random.Generator, bits: Floats, units: Floats) -> tuple[Floats, Floats]:
        """Return random candidates, and ones a few changes away from what is known; none is known itself."""
        fresh = rng.integers(0, 2, (self.num_candidates, bits.shape[1])).astype(float)
        near = bits[rng.integers(len(bits), size=self.num_candidates)]
        flips = rng.random(near.shape) < 1.5 / max(1, bits.shape[1])
        masks = np.concatenate([fresh, np.abs(near - flips)])
        near_units = units[rng.integers(len(units), size=self.num_candidates)]
        moved = np.clip(near_units + 0.1 * rng.standard_normal(near_units.shape), 0, 1)
        numbers = np.concatenate([rng.random((self.num_candidates, units.shape[1])), moved])
        return masks, numbers

    def _climb(self, score: Any, masks: Floats, numbers: Floats, starts: int = 8) -> tuple[Floats, Floats]:
        """Improve the best candidates by single flips, and return the best that has not been told."""
        known = {self._key(bits, units) for bits, units, _ in self._known}
        best = np.argsort(score(masks, numbers), kind="stable")[:starts]
        pool = [(masks[i], numbers[i]) for i in best]
        flips = np.eye(masks.shape[1])
        for _ in range(masks.shape[1]):
            moved = []
            for bits, units in pool:
                around = np.concatenate([bits[None], np.abs(bits - flips)])
                values = score(around, np.repeat(units[None], len(around), axis=0))
                moved.append((around[int(np.argmin(values))], units))
            if all(np.array_equal(a[0], b[0]) for a, b in zip(pool, moved, strict=True)):
                break
            pool = moved
        ranked = np.argsort(score(np.stack([b for b, _ in pool]), np.stack([u for _, u in pool])), kind="stable")
        order = [pool[i] for i in ranked] + [(masks[i], numbers[i]) for i in np.argsort(score(masks, numbers))]
        fresh: tuple[Floats, Floats] = next((found for found in order if self._key(*found) not in known), order[0])
        return fresh

    def _key(self, bits: Floats, units: Floats) -> tuple[float, ...]:
        return (*bits.astype(int).tolist(), *np.round(units, 3).tolist())

    def _child(self, bits: Floats, units: Floats) -> p.Parameter:
        value: dict[str, Any] = {}
        if len(bits):
            value["mask"] = tuple(int(bit) for bit in bits)
        if len(units):
            value["units"] = np.asarray(units, dtype=float)
        return self.parametrization.spawn_child(new_value=value)


if NAME not in base.registry:
    base.registry.register(PairwiseThompson)
