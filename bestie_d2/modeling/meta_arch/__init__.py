"""Meta-architectures in Detectron2's registry."""

from .bestie import BESTIE

__all__ = ["BESTIE"]
