"""The audit: does this model, or this folder of pictures, leak a patient?"""

from memcontrol.audit.audited import Audited
from memcontrol.audit.options import AuditOptions, ExtractionOptions
from memcontrol.audit.run import audit
from memcontrol.audit.shadows import ShadowOptions, ShadowTraining

__all__ = ["AuditOptions", "Audited", "ExtractionOptions", "ShadowOptions", "ShadowTraining", "audit"]
