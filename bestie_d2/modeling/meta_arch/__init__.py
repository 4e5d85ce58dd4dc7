"""Meta-architectures in Detectron2's registry."""

from .bestie import BESTIE
from .pam_classifier import PAMClassifier

__all__ = ["BESTIE", "PAMClassifier"]
