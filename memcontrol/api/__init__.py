"""memcontrol from Python: `import memcontrol.api as mc`, then `mc.fit`, `mc.score`, `mc.search` and `mc.audit`.

The parts that they take are here too: modules, data, adapters, masks and options, named as configs name them.
"""

from peft import LoraConfig

from memcontrol.adapters import DiffFitConfig, SelectiveConfig, SVDiffConfig
from memcontrol.api.auditing import audit
from memcontrol.api.fitting import fit
from memcontrol.api.results import AuditResult, Run, Scores, StudyResult
from memcontrol.api.scoring import score
from memcontrol.api.searching import search
from memcontrol.audit import AuditOptions
from memcontrol.callbacks import RewardsCallback, SampleGridCallback
from memcontrol.data.files import ImageFilesDataModule
from memcontrol.data.huggingface import HuggingFaceDataModule
from memcontrol.data.imagefolder import ImageFolderDataModule
from memcontrol.data.images import Transform
from memcontrol.data.mimic import MimicCxrDataModule
from memcontrol.data.phantom.datamodule import PhantomDataModule
from memcontrol.data.webdataset import WebDatasetDataModule
from memcontrol.diffusion.sampling import SamplingOptions
from memcontrol.masks import Mask
from memcontrol.measures import ScoringOptions
from memcontrol.module import MemControlModule
from memcontrol.optimizers import OptimizerOptions
from memcontrol.pipeline import load_pipeline
from memcontrol.privacy import PrivacyOptions
from memcontrol.search.options import SearchOptions
from memcontrol.search.space import Parameter

__all__ = [
    "AuditOptions",
    "AuditResult",
    "DiffFitConfig",
    "HuggingFaceDataModule",
    "ImageFilesDataModule",
    "ImageFolderDataModule",
    "LoraConfig",
    "Mask",
    "MemControlModule",
    "MimicCxrDataModule",
    "OptimizerOptions",
    "Parameter",
    "PhantomDataModule",
    "PrivacyOptions",
    "RewardsCallback",
    "Run",
    "SVDiffConfig",
    "SampleGridCallback",
    "SamplingOptions",
    "Scores",
    "ScoringOptions",
    "SearchOptions",
    "SelectiveConfig",
    "StudyResult",
    "Transform",
    "WebDatasetDataModule",
    "audit",
    "fit",
    "load_pipeline",
    "score",
    "search",
]
