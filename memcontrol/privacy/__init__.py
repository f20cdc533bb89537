"""Differential privacy per patient: what is trained is bounded, noised and accounted for (docs/PRIVACY.md)."""

from memcontrol.privacy.guarantee import Guarantee
from memcontrol.privacy.options import PrivacyOptions
from memcontrol.privacy.training import PrivateTraining

__all__ = ["Guarantee", "PrivacyOptions", "PrivateTraining"]
