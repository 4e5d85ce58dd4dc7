"""Weakly-supervised instance segmentation (BESTIE) as a Detectron2 extension."""

from bestie_d2.openmp import let_waiting_threads_sleep

let_waiting_threads_sleep()
