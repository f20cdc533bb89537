"""Probes: scores of single images at fixed noise and timesteps, one file each."""

from memcontrol.measures.probes.base import Probe, ProbeBatch, Probed
from memcontrol.measures.probes.gradient import GradientProbe
from memcontrol.measures.probes.loss import LossProbe
from memcontrol.measures.probes.noise_norm import NoiseNormProbe
from memcontrol.measures.probes.pia import PIAProbe
from memcontrol.measures.probes.secmi import SecMIProbe
from memcontrol.measures.probes.sima import SimAProbe
from memcontrol.measures.probes.uncaptioned import UncaptionedLossProbe

__all__ = [
    "GradientProbe",
    "LossProbe",
    "NoiseNormProbe",
    "PIAProbe",
    "Probe",
    "ProbeBatch",
    "Probed",
    "SecMIProbe",
    "SimAProbe",
    "UncaptionedLossProbe",
]
