"""Cues of a data set: from a PAM classifier's maps to the cue file, one image at a time."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from torch import Tensor

from bestie_d2.data.labels.attach import CUE_SCORE_THRESHOLD, weak_map_path
from bestie_d2.data.labels.index_png import read_weak_sem_seg
from bestie_d2.data.names import relative_name
from bestie_d2.errors import InputError
from bestie_d2.evaluation.weak_components import MIN_AREA, CueSummary, count_cues
from bestie_d2.labeling.cues import activation_maps, extract_cues
from bestie_d2.storage.files import write_json_lists
from bestie_d2.storage.results import ResultShards
from bestie_d2.structures import PointCues

SCORE_DECIMALS = 6  # of the scores in the file


@dataclass(frozen=True)
class CueRecipe:
    """How cues are found, and what they are measured with.

    Attributes:
        extraction: keyword arguments of :func:`bestie_d2.labeling.cues.extract_cues`.
        threshold: cues that score higher count in the summary; all are written.
        weak_maps: folder of index PNGs to count the components of; "" for none.
        min_area: smaller components are passed over, in pixels.
    """

    extraction: Mapping[str, float] = field(default_factory=dict)
    threshold: float = CUE_SCORE_THRESHOLD
    weak_maps: str = ""
    min_area: int = MIN_AREA


def cues_of(cams: Tensor, record: Mapping, recipe: CueRecipe) -> tuple[PointCues, Tensor]:
    """The cues of one image, in its own pixels, for the classes that it is tagged with.

    Args:
        cams: (C, h, w) float, maps before any ReLU, on any device.
        record: ``height``, ``width`` and ``image_classes`` of the image.

    Returns:
        The cues, and the (K, H, W) maps in [0, 1) that they were found on, both on the host.
    """
    tags = list(record["image_classes"])
    maps = activation_maps(cams[tags].float().cpu(), (record["height"], record["width"]))
    return extract_cues(maps, tags, **recipe.extraction), maps


def read_weak_map_of(record: Mapping, folder: str, num_classes: int) -> np.ndarray | None:
    """(H, W) WSSS indices of a record's weak map; None where there is none that can be used.

    Cues do not depend on it, so nothing stops for its sake; the summary says how many there were.
    """
    path = weak_map_path(folder, record) if folder else ""
    if not os.path.isfile(path):
        return None
    try:
        return read_weak_sem_seg(path, num_classes, (record["height"], record["width"]))
    except InputError:
        return None


class CueWriter(DatasetEvaluator):
    """Turns maps into cues as they come, and all of them into one cue file at the end.

    Several may work at the same time, in processes of their own, each on other images; one of them
    calls :meth:`evaluate` when all are through.
    """

    def __init__(
        self,
        categories: Sequence[Mapping],
        shards: ResultShards,
        recipe: CueRecipe,
        *,
        worker: int = 0,
        records: Sequence[Mapping] = (),
    ) -> None:
        """
        Args:
            categories: ``id``, the data set's own, and ``name`` of each class in order.
            shards: where the cues of single images are kept until the file is written.
            worker: this writer's number among those that work at the same time.
            records: all of the data set, in the order of the file; only ``evaluate`` needs them.
        """
        self._categories = categories
        self._shards = shards
        self._recipe = recipe
        self._records = records
        self._writer = shards.writer(worker)

    def reset(self) -> None:
        """Nothing: what has been done is kept, so that a run can go on."""

    def process(self, inputs: list[dict], outputs: list[dict]) -> None:
        """Keep the cues and counts of each input, a record, by the ``cams`` of its output."""
        for record, output in zip(inputs, outputs, strict=True):
            cues, _ = cues_of(output["cams"], record, self._recipe)
            weak_map = read_weak_map_of(record, self._recipe.weak_maps, len(self._categories))
            counts = count_cues(
                cues,
                record["image_classes"],
                threshold=self._recipe.threshold,
                index_map=weak_map,
                min_area=self._recipe.min_area,
            )
            self._writer.append(record["image_id"], {"points": _points(cues), "counts": counts})

    def evaluate(self) -> CueSummary:
        """Write the cue file, whole or not at all, and remove the single images' results.

        Images that were left out are not in it.
        """
        self._writer.close()
        summary = CueSummary.empty(len(self._categories))
        done = self._shards.done()
        images = (_image_entry(record) for record in self._records if record["image_id"] in done)
        members = {"images": images, "categories": self._categories}
        write_json_lists(self._shards.output, {**members, "points": self._points(summary)})
        self._shards.remove()
        return summary

    def _points(self, summary: CueSummary) -> Iterable[dict]:
        """The entries of all images, while the summary is added up."""
        for image_id, result in self._shards.merge(r["image_id"] for r in self._records):
            summary.add(result["counts"])
            for x, y, class_id, score in result["points"]:
                yield {
                    "image_id": image_id,
                    "category_id": self._categories[class_id]["id"],
                    "point": [x, y],
                    "score": score,
                }


def _image_entry(record: Mapping) -> dict:
    size = {key: record[key] for key in ("height", "width")}
    return {"id": record["image_id"], "file_name": relative_name(record), **size}


def _points(cues: PointCues) -> list[tuple[int, int, int, float]]:
    """x, y, class and score of each cue: the order of files."""
    columns = (cues.pixels(), cues.classes.tolist(), cues.scores.tolist())
    return [
        (x, y, class_id, round(score, SCORE_DECIMALS))
        for (y, x), class_id, score in zip(*columns, strict=True)
    ]
