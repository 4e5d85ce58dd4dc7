"""The registry of mappers; ``INPUT.MAPPER`` names one."""

from __future__ import annotations

from detectron2.utils.registry import Registry

MAPPER_REGISTRY = Registry("MAPPER")
MAPPER_REGISTRY.__doc__ = """
Dataset mappers for weak labels: built by ``mapper(cfg)``, called with one record at a time;
``mapper.load_records(cfg, dataset_name)`` gives the records. ``mapper.needs`` says what of a record
it takes beside the image: some of "tags", "weak_maps", "cues", "masks".
"""
