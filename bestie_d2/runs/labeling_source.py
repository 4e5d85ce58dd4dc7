"""A data set and the trained model that labels it: looked through, then run into shards."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from bestie_d2.checks.configuration import check_trained_classes
from bestie_d2.errors import InputError
from bestie_d2.model_keys import num_classes
from bestie_d2.runs.fingerprint import fingerprint
from bestie_d2.runs.labeling_run import BuildConsumer, LabelingRun, pending, records_to_label
from bestie_d2.storage.files import make_folder
from bestie_d2.storage.results import ResultShards


@dataclass(frozen=True)
class LabelingSource:
    """What is labeled, and by what.

    Attributes:
        cfg: with ``MODEL.WEIGHTS``.
        dataset_name: a registered data set.
        records: of all its images.
        categories: ``id``, the data set's own, and ``name`` of its classes in contiguous order.
        jobs, skip_bad: as in ``LabelingRun``.
    """

    cfg: CfgNode
    dataset_name: str
    records: list[dict]
    categories: list[dict]
    jobs: int = 1
    skip_bad: bool = False

    @classmethod
    def open(cls, cfg: CfgNode, dataset_name: str, *, jobs: int, skip_bad: bool) -> LabelingSource:
        """Read the data set's lists.

        Raises:
            InputError: the data set is not there, or it and the model do not go together.
        """
        records = records_to_label(dataset_name, num_classes(cfg), skip_bad=skip_bad)
        check_trained_classes(cfg, dataset_name)
        metadata = MetadataCatalog.get(dataset_name)
        ids = {index: own for own, index in metadata.thing_dataset_id_to_contiguous_id.items()}
        categories = [
            {"id": ids[index], "name": name} for index, name in enumerate(metadata.thing_classes)
        ]
        return cls(cfg, dataset_name, records, categories, jobs, skip_bad)

    @property
    def class_names(self) -> list[str]:
        return [category["name"] for category in self.categories]

    def fingerprint(self) -> dict[str, str]:
        """What the model's outputs on the data set depend on."""
        return fingerprint(self.cfg, self.records, self.dataset_name)

    def label_into(
        self,
        shards: ResultShards,
        settings: Mapping[str, Any],
        build_consumer: BuildConsumer,
        *,
        title: str,
        overwrite: bool,
    ) -> None:
        """Run the model on the images that the shards have no result of yet.

        Args:
            settings: everything that the results depend on, for ``ResultShards.begin``.
            build_consumer, title: as in ``LabelingRun``; the consumers write into the shards.
            overwrite: as in ``ResultShards.begin``.

        Raises:
            InputError: from the output, or an unreadable image; or not one could be read.
        """
        make_folder(os.path.dirname(shards.output) or ".", "--output")
        shards.begin(settings, overwrite=overwrite)
        left = pending(self.records, shards.done())
        if len(left) < len(self.records):
            print(f"{len(self.records) - len(left)} images are done already, {len(left)} to go")
        LabelingRun(self.cfg, left, build_consumer, self.jobs, self.skip_bad, title).execute()
        if not shards.done():
            raise InputError(f"none of the {len(self.records)} images could be read")
