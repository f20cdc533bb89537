"""From measures to rewards and losses: the only place where a sign changes."""

from __future__ import annotations

__all__ = ["loss_of", "reward_of"]


def reward_of(value: float, higher_is_better: bool) -> float:
    """Turn a measure into a reward, which is always better when higher.

    Example:
        >>> reward_of(0.7, higher_is_better=False)
        -0.7
    """
    return value if higher_is_better else -value


def loss_of(reward: float) -> float:
    """Turn a reward into the loss that a proposer minimises."""
    return -reward
