"""What a configuration trains on, from any iteration on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader, get_detection_dataset_dicts
from detectron2.utils import comm

from bestie_d2.checks.configuration import training_mapper
from bestie_d2.data import ImageReader
from bestie_d2.data.images import describe_traits
from bestie_d2.data.training_stream import TrainingStream
from bestie_d2.errors import InputError
from bestie_d2.pictures.dataset import spread_over

LOOKED_AT = 8  # pictures, of which it is told how they are taken
PLAIN_SAMPLER = "TrainingSampler"  # Detectron2's name of the sampler that shuffles all images

logger = logging.getLogger(__name__)


def build_training_loader(cfg: CfgNode, *, seed: int, start: int) -> Iterable[list[dict]]:
    """Batches for the model from iteration ``start`` on; the same ones whenever they are asked for.

    Detectron2's own loader, which begins anew after a stop, does what is asked where images for its
    models are grouped by aspect ratio or sampled unevenly.

    Args:
        seed: of their order and of their augmentation.
    """
    loading, mapper = cfg.DATALOADER, training_mapper(cfg)(cfg)
    if cfg.INPUT.MAPPER:
        parts = [mapper.load_records(cfg, name) for name in cfg.DATASETS.TRAIN]
        records = [record for part in parts for record in part]
    elif loading.ASPECT_RATIO_GROUPING or loading.SAMPLER_TRAIN != PLAIN_SAMPLER:
        return build_detection_train_loader(cfg, mapper=mapper)
    else:
        filtered = loading.FILTER_EMPTY_ANNOTATIONS
        records = get_detection_dataset_dicts(cfg.DATASETS.TRAIN, filter_empty=filtered)
    if not records:
        raise InputError("DATASETS.TRAIN is empty: name a data set to train on")
    if start == 0 and comm.is_main_process():
        # Of a few it is told how they are not taken as they are stored; check_data looks at all.
        reader, chosen = ImageReader.from_config(cfg), spread_over(records, LOOKED_AT)
        traits = Counter(trait for record in chosen for trait in reader.open_of(record).traits)
        for line in describe_traits(traits, len(chosen), reader.intensity):
            logger.info("a look at %d of %d pictures: %s", len(chosen), len(records), line)
    return loader_of(
        records,
        mapper,
        total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
        num_workers=loading.NUM_WORKERS,
        seed=seed,
        start=start,
    )


def loader_of(
    records: Sequence[dict],
    mapper: Callable[[dict], dict],
    *,
    total_batch_size: int,
    num_workers: int,
    seed: int,
    start: int,
) -> Iterable[list[dict]]:
    """Detectron2's loader over a :class:`TrainingStream` of records.

    Args:
        total_batch_size: of all processes together, each of which has ``num_workers``.
        seed, start: as of :func:`build_training_loader`.
    """
    batch_size = total_batch_size // comm.get_world_size()
    return build_detection_train_loader(
        TrainingStream(records, batch_size=batch_size, seed=seed, start=start),
        mapper=mapper,
        total_batch_size=total_batch_size,
        aspect_ratio_grouping=False,
        num_workers=num_workers,
    )
