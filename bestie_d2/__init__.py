"""Weakly-supervised instance segmentation (BESTIE) as a Detectron2 extension."""
