"""Encoders: images to features."""

from memcontrol.measures.encoders.base import Encoder
from memcontrol.measures.encoders.inception import InceptionEncoder
from memcontrol.measures.encoders.lite import LiteEncoder
from memcontrol.measures.encoders.module import ModuleEncoder
from memcontrol.measures.encoders.phantom import PhantomEncoder
from memcontrol.measures.encoders.thumbnail import ThumbnailEncoder
from memcontrol.measures.encoders.timm import TimmEncoder
from memcontrol.measures.encoders.xray import XrayEncoder

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
