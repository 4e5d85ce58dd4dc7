"""Trainer, command lines, and the seam to Detectron2's versions."""
