"""Run a trained model over a whole data set, image by image, in one or several processes.

Made for labeling: every image counts once, a bad one is named, and what has been done is kept.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Collection, Hashable, Sequence
from dataclasses import dataclass

import torch
import torch.multiprocessing as mp
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import DatasetEvaluator
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from bestie_d2.data import EvaluationMapper
from bestie_d2.data.labels.attach import check_classes, check_present, check_readable
from bestie_d2.engine.trainer import load_trained_model
from bestie_d2.errors import InputError

GRACE = 10  # seconds that a process has to end by itself

# number of the process -> what takes the model's inputs and outputs there, image by image
BuildConsumer = Callable[[int], DatasetEvaluator]


@dataclass(frozen=True)
class BadImage:
    """An image that cannot be read, and the line that says why."""

    reason: str


@dataclass(frozen=True)
class LabelingRun:
    """What every process of a run has to know; it travels to them.

    Attributes:
        cfg: with ``MODEL.WEIGHTS``, the same for all processes.
        records: of the images still to be done.
        build_consumer: a function of a module's top level, or a ``partial`` of one.
        jobs: how many processes share the records.
        skip_bad: leave unreadable images out; else the first one stops the run.
        title: of the progress bar.
    """

    cfg: CfgNode
    records: Sequence[dict]
    build_consumer: BuildConsumer
    jobs: int
    skip_bad: bool
    title: str

    def execute(self) -> None:
        """Run the model on every record and give inputs and outputs to the consumers.

        Raises:
            InputError: an unreadable image, named, unless they are skipped. Whatever ends the run,
                what the consumers have written stays.
        """
        if not self.records:
            return
        try:
            if self.jobs == 1:
                _work(0, self)
            else:
                _spawn(self)
        except KeyboardInterrupt:
            print("\nstopped; run the same command again to go on from here", file=sys.stderr)
            raise


def records_to_label(dataset_name: str, model_classes: int, *, skip_bad: bool) -> list[dict]:
    """The records of a registered data set, without annotations.

    Args:
        model_classes: C of the model.
        skip_bad: missing images are told when their turn comes, not here.

    Raises:
        InputError: an unknown name, another number of classes, no image, or a missing one.
    """
    if dataset_name not in DatasetCatalog:
        raise InputError(f"data set {dataset_name!r} is not registered; see DATASETS.CUSTOM")
    records = DatasetCatalog.get(dataset_name)
    if not records:
        raise InputError(f"data set {dataset_name!r} has no images")
    check_classes(MetadataCatalog.get(dataset_name).thing_classes, model_classes)
    if not skip_bad:
        check_present("image", [record["file_name"] for record in records])
        check_readable(records)
    return [{k: v for k, v in record.items() if k != "annotations"} for record in records]


def pending(records: Sequence[dict], done: Collection[Hashable]) -> list[dict]:
    """The records whose image is not done yet."""
    return [record for record in records if record["image_id"] not in done]


# -- what each process does


class _Images(Dataset):
    """Records as the model's input, or as :class:`BadImage`."""

    def __init__(self, records: Sequence[dict], mapper: EvaluationMapper) -> None:
        self._records = records
        self._mapper = mapper

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict | BadImage:
        try:
            return self._mapper(self._records[index])
        except InputError as error:
            return BadImage(str(error))


def _as_it_is(item: dict | BadImage) -> dict | BadImage:
    return item


def _spawn(run: LabelingRun) -> None:
    """Let ``run.jobs`` processes take their share each; they end with this one."""
    context = mp.spawn(_work_apart, args=(run,), nprocs=run.jobs, join=False)
    try:
        while not context.join():
            pass
    finally:
        for process in context.processes:
            if process.is_alive():
                os.kill(process.pid, signal.SIGINT)  # as Ctrl-C: its loader's workers end quietly
        for process in context.processes:
            process.join(GRACE)
            process.kill()


def _work_apart(worker: int, run: LabelingRun) -> None:
    """:func:`_work` in a process that was spawned."""
    torch.set_num_threads(max(1, torch.get_num_threads() // run.jobs))
    _work(worker, run)


def _work(worker: int, run: LabelingRun) -> None:
    """Take every ``jobs``-th record, from number ``worker`` on."""
    share = run.records[worker :: run.jobs]
    if not share:
        return
    cfg = _on_own_device(run.cfg, worker)
    model, _ = load_trained_model(cfg)
    model.eval()
    consumer = run.build_consumer(worker)
    loader = DataLoader(
        _Images(share, EvaluationMapper(cfg, is_train=False)),
        batch_size=None,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        collate_fn=_as_it_is,
    )
    title = f"{run.title} {worker + 1}/{run.jobs}" if run.jobs > 1 else run.title
    bad = []
    with torch.no_grad():
        for item in tqdm(loader, desc=title, unit="image", position=worker, smoothing=0):
            if isinstance(item, dict):
                consumer.process([item], model([item]))
                continue
            if not run.skip_bad:
                raise InputError(
                    f"{item.reason}; --skip-bad leaves such images out, and what is done is kept"
                )
            bad.append(item.reason)
    for reason in bad:
        print(f"left out: {reason}", flush=True)


def _on_own_device(cfg: CfgNode, worker: int) -> CfgNode:
    """The configuration for one of several processes: each takes the next GPU, if there are any."""
    if cfg.MODEL.DEVICE != "cuda":
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.DEVICE = f"cuda:{worker % torch.cuda.device_count()}"
    cfg.freeze()
    return cfg
