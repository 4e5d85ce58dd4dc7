"""The records of a data set with their tags alone."""

from __future__ import annotations

import logging

from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.data.labels.weak_labels import check_classes, check_present, check_readable
from bestie_d2.errors import InputError

logger = logging.getLogger(__name__)


def load_tagged_records(name: str, num_classes: int) -> list[dict]:
    """The records of a registered data set, each with ``image_classes``.

    Images without any tag are left out: they teach nothing.

    Args:
        name: a registered data set.
        num_classes: C of the model.

    Raises:
        InputError: an unknown name, no (tagged) image, a missing image, or another number of
            classes than the model's.
    """
    if name not in DatasetCatalog:
        raise InputError(f"data set {name!r} is not registered; see DATASETS.CUSTOM")
    records = DatasetCatalog.get(name)
    check_classes(MetadataCatalog.get(name).thing_classes, num_classes)
    check_present("image", [record["file_name"] for record in records])
    check_readable(records)
    kept = [record for record in records if record["image_classes"]]
    if not kept:
        raise InputError(f"data set {name!r}: none of its {len(records)} images has a tag")
    if len(kept) < len(records):
        logger.info("%s: %d images without any tag left out", name, len(records) - len(kept))
    return [{k: v for k, v in record.items() if k != "annotations"} for record in kept]
