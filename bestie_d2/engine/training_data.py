"""What a configuration trains on, from any iteration on."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from detectron2.config import CfgNode
from detectron2.data import build_detection_train_loader, get_detection_dataset_dicts
from detectron2.utils import comm

from bestie_d2.data import MAPPER_REGISTRY, DetectionMapper, ImageReader
from bestie_d2.data.images import describe_traits
from bestie_d2.data.training_stream import TrainingStream
from bestie_d2.errors import InputError
from bestie_d2.pictures.dataset import spread_over

LOOKED_AT = 8  # pictures, of which it is told how they are taken
PLAIN_SAMPLER = "TrainingSampler"  # Detectron2's name of the sampler that shuffles all images

logger = logging.getLogger(__name__)


def build_training_loader(cfg: CfgNode, *, seed: int, start: int) -> Iterable[list[dict]] | None:
    """Batches for the model from iteration ``start`` on; the same ones whenever they are asked for.

    Args:
        seed: of their order and of their augmentation.

    Returns:
        None where only Detectron2's own loader does what is asked: for its models, if images are
        grouped by aspect ratio or sampled unevenly. That one begins anew after a stop.

    Raises:
        InputError: there is nothing to train on.
    """
    if cfg.INPUT.MAPPER:
        mapper_class = MAPPER_REGISTRY.get(cfg.INPUT.MAPPER)
        records = [
            record for name in cfg.DATASETS.TRAIN for record in mapper_class.load_records(cfg, name)
        ]
        mapper = mapper_class(cfg)
    elif cfg.DATALOADER.ASPECT_RATIO_GROUPING or cfg.DATALOADER.SAMPLER_TRAIN != PLAIN_SAMPLER:
        return None
    else:
        records = get_detection_dataset_dicts(
            cfg.DATASETS.TRAIN, filter_empty=cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS
        )
        mapper = DetectionMapper(cfg, is_train=True)
    if not records:
        raise InputError("DATASETS.TRAIN is empty: name a data set to train on")
    if start == 0 and comm.is_main_process():
        _tell_of_pictures(cfg, records)
    return loader_of(
        records,
        mapper,
        total_batch_size=cfg.SOLVER.IMS_PER_BATCH,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        seed=seed,
        start=start,
    )


def _tell_of_pictures(cfg: CfgNode, records: Sequence[dict]) -> None:
    """Say of a few how they are not taken as they are stored; ``check_data`` looks at all."""
    reader = ImageReader.from_config(cfg)
    chosen = spread_over(records, LOOKED_AT)
    traits = Counter(trait for record in chosen for trait in reader.open_of(record).traits)
    for line in describe_traits(traits, len(chosen), reader.intensity):
        logger.info("a look at %d of %d pictures: %s", len(chosen), len(records), line)


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
        total_batch_size: of all processes together.
        num_workers: processes that load for each of them.
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
