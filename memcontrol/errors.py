"""Errors that a user can mend: each names the argument, what it got, what is allowed and a way out."""

from __future__ import annotations

__all__ = [
    "AdapterError",
    "BaseModelError",
    "CacheError",
    "CheckpointError",
    "ConfigError",
    "DataError",
    "DivergedError",
    "EncoderError",
    "GuaranteeError",
    "MaskError",
    "MemControlError",
    "PrivacyError",
    "PromptError",
    "RewardError",
    "SearchError",
    "UntrustedConfigError",
]


class MemControlError(Exception):
    """Base of every error that memcontrol raises on purpose."""


class MaskError(MemControlError, ValueError):
    """A mask or a slot layout does not fit the U-Net."""


class AdapterError(MemControlError, ValueError):
    """An adapter cannot be put where it was asked for."""


class BaseModelError(MemControlError, ValueError):
    """A base model is missing, incomplete, or not one that can be adapted."""


class DataError(MemControlError, ValueError):
    """A data set is missing, malformed, or would leak from one split into another."""


class CacheError(MemControlError, RuntimeError):
    """The cache of latents and text states cannot be used as configured."""


class CheckpointError(MemControlError, ValueError):
    """A run folder, checkpoint or adapter folder cannot be loaded."""


class ConfigError(MemControlError):
    """A config cannot be read, or its options do not go together."""


class EncoderError(MemControlError, ValueError):
    """An encoder of images cannot be loaded as configured."""


class GuaranteeError(MemControlError, ValueError):
    """A bound on what one patient may change cannot be given, or would not hold, as configured."""


class RewardError(MemControlError, ValueError):
    """Rewards cannot be computed as configured."""


class DivergedError(RewardError):
    """Training has diverged: there is nothing to score."""


class SearchError(MemControlError, ValueError):
    """A study cannot be run as configured."""


class PrivacyError(MemControlError, PermissionError):
    """Something would leave the machine that its owner has not released."""


class PromptError(MemControlError, ValueError):
    """Prompts are missing or unreadable."""


class UntrustedConfigError(MemControlError, ValueError):
    """A config names code outside the packages that are trusted."""
