"""Meta-architectures in Detectron2's registry."""

from .bestie import BESTIE
from .pam_classifier import PAMClassifier
from .single_stage_wsss import SingleStageWSSS

__all__ = ["BESTIE", "PAMClassifier", "SingleStageWSSS"]
