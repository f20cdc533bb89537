"""Encoders: images to features."""

from memcontrol.rewards.encoders.base import Encoder
from memcontrol.rewards.encoders.inception import InceptionEncoder
from memcontrol.rewards.encoders.lite import LiteEncoder
from memcontrol.rewards.encoders.module import ModuleEncoder
from memcontrol.rewards.encoders.phantom import PhantomEncoder
from memcontrol.rewards.encoders.thumbnail import ThumbnailEncoder
from memcontrol.rewards.encoders.timm import TimmEncoder
from memcontrol.rewards.encoders.xray import XrayEncoder

__all__ = [
    "Encoder",
    "InceptionEncoder",
    "LiteEncoder",
    "ModuleEncoder",
    "PhantomEncoder",
    "ThumbnailEncoder",
    "TimmEncoder",
    "XrayEncoder",
]
