"""The chain of stages, from weak labels to Mask R-CNN, in one resumable command."""
