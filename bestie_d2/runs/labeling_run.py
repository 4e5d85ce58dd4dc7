"""Run a trained model over a whole data set, image by image, in one or several processes, also of
several machines that share a folder.

Made for labeling: every image counts once, a bad one is named, and what has been done is kept.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.multiprocessing as mp
from detectron2.config import CfgNode
from detectron2.data import MapDataset, MetadataCatalog
from detectron2.data.build import trivial_batch_collator
from torch import nn
from torch.utils.data import DataLoader
from tqdm import tqdm

from bestie_d2.checks.training import check_trained_classes
from bestie_d2.data import EvaluationMapper
from bestie_d2.data.labels.attach import (
    check_classes,
    check_present,
    check_readable,
    registered_records,
)
from bestie_d2.data.loader_workers import tell_of_full_memory
from bestie_d2.engine.configuration import import_extra_modules
from bestie_d2.engine.trainer import load_trained_model
from bestie_d2.errors import InputError
from bestie_d2.model_keys import NUM_CLASSES_NODE, num_classes, num_classes_key, with_keys
from bestie_d2.storage.files import hash_of_content, hash_of_file
from bestie_d2.storage.machine_shares import ONE_MACHINE, Machines, wait_until_begun
from bestie_d2.storage.processes import end_with_parent, only_run_for
from bestie_d2.storage.results import Results

MOST_PROCESSES = 1000  # of a machine; numbers tell the results of all apart
NO_MATTER = {"INPUT.BESTIE", "INPUT.TAGS", "INPUT.MAPPER", "MODEL.DEVICE", "MODEL.WEIGHTS"}

# Makes of a record and the model's output what is kept of it, a JSON value, or keeps it itself and
# gives None; a function of a module or a ``partial`` of one, since it travels to other processes.
Work = Callable[[dict, dict], Any]


@dataclass(frozen=True)
class LabelingRun:
    """A trained model and the registered data set that it labels."""

    cfg: CfgNode  # with MODEL.WEIGHTS
    dataset_name: str
    records: list[dict]  # of all its images, without annotations
    categories: list[dict]  # the data set's own "id" and the "name" of its classes, by class id
    jobs: int = 1  # processes that share the images
    skip_bad: bool = False  # leave unreadable images out; else the first one stops the run
    machines: Machines = ONE_MACHINE  # that share the images over a folder that all see

    @staticmethod
    def open(
        cfg: CfgNode,
        dataset_name: str,
        *,
        jobs: int = 1,
        skip_bad: bool = False,
        machines: Machines = ONE_MACHINE,
    ) -> LabelingRun:
        """Read the data set's lists; ``InputError`` if it is unknown, has no images or other
        classes than the model's, or if an image is missing and bad ones are not skipped."""
        records = registered_records(dataset_name)
        if not records:
            raise InputError(f"data set {dataset_name!r} has no images")
        metadata = MetadataCatalog.get(dataset_name)
        check_classes(metadata.thing_classes, num_classes(cfg))
        if not skip_bad:
            check_present("image", [record["file_name"] for record in records])
            check_readable(records)
        check_trained_classes(cfg, dataset_name)
        ids = {index: known for known, index in metadata.thing_dataset_id_to_contiguous_id.items()}
        categories = [{"id": ids[i], "name": name} for i, name in enumerate(metadata.thing_classes)]
        bare = [{k: v for k, v in record.items() if k != "annotations"} for record in records]
        return LabelingRun(cfg, dataset_name, bare, categories, jobs, skip_bad, machines)

    @property
    def class_names(self) -> list[str]:
        return [category["name"] for category in self.categories]

    def settings(self) -> dict[str, str]:
        """What the model's outputs on the data set depend on: all keys of ``INPUT`` and ``MODEL``
        but those of training and of our other models, hashes of the weights and of the records."""
        used = num_classes_key(self.cfg).rsplit(".", 1)[0]
        unused = NO_MATTER | {f"MODEL.{node}" for node in NUM_CLASSES_NODE.values()} - {used}
        weights = self.cfg.MODEL.WEIGHTS
        return {
            "data set": self.dataset_name,
            "images and tags": hash_of_content(self.records),
            "weights": weights if "://" in weights else hash_of_file(weights),
            **dict(_flattened(self.cfg.MODEL, "MODEL", unused)),
            **dict(_flattened(self.cfg.INPUT, "INPUT", unused)),
        }

    @contextmanager
    def labeled(
        self, output: str, settings: Mapping[str, Any], work: Work, title: str, *, overwrite: bool
    ) -> Iterator[Results]:
        """The results of all images while the block writes them to a file, ``output``; they are
        removed then. Goes on where a run of the same settings was stopped; an output that is there
        and what runs of other settings left are refused unless ``overwrite`` throws them away.

        Args:
            settings: everything that the results depend on, by name; JSON values.
            title: of the progress bar.

        Raises:
            ShareDone: this machine is not the first one, and leaves the block to that.
        """
        results = self.machines.results(output)

        def do(share: int) -> None:
            records, done = self.machines.share_of(self.records, share), results.done()
            left = [record for record in records if record["image_id"] not in done]
            self.execute(left, work, title, results)

        with self.machines.first_alone(only_run_for(output)):
            if self.machines.rank:
                wait_until_begun(results, settings)
            elif os.path.isdir(output):
                raise InputError(f"--output {output}: is a folder; name a file")
            elif os.path.exists(output) and not overwrite:
                raise InputError(f"--output {output}: is there already; --overwrite replaces it")
            else:
                results.begin(settings, overwrite=overwrite)
            with self.machines.sharing(output, do):
                if not results.done():
                    raise InputError(f"none of the {len(self.records)} images could be read")
                yield results
                results.remove()

    def lists(self, results: Results, name_of: Callable[[dict], str]) -> dict[str, list[dict]]:
        """The images that there is a result of, and the categories, as COCO's files have them."""
        images, done = [], results.done()
        for record in self.records:
            if record["image_id"] in done:
                size = {key: record[key] for key in ("height", "width")}
                images.append({"id": record["image_id"], "file_name": name_of(record), **size})
        return {"images": images, "categories": self.categories}

    def items(self, cfg: CfgNode, share: Sequence[dict]) -> Iterable[dict | InputError]:
        """What the model is shown of each record, or why its image cannot be read."""
        tell_of_full_memory()
        return DataLoader(
            MapDataset(share, partial(read_or_refuse, EvaluationMapper(cfg, is_train=False))),
            batch_size=None,
            num_workers=cfg.DATALOADER.NUM_WORKERS,
            collate_fn=trivial_batch_collator,
        )

    def see(self, model: nn.Module, item: dict) -> dict:
        """The model's output on an item."""
        return model([item])[0]

    def unreadable(self, error: InputError) -> Any:
        """What is kept of an image that cannot be read; None for nothing."""
        if not self.skip_bad:
            advice = "--skip-bad leaves such images out, and what is done is kept"
            raise InputError(f"{error}; {advice}")

    def execute(self, left: Sequence[dict], work: Work, title: str, results: Results) -> None:
        """Run the model on the records that are left; what the work makes goes to the results, and
        stays there whatever ends the run, such as an unreadable image, unless they are skipped."""
        if self.machines.count == 1 and len(left) < len(self.records):
            print(f"{len(self.records) - len(left)} images are done already, {len(left)} to go")
        elif self.machines.count > 1 and left:
            print(f"{len(left)} images of a share to go", flush=True)
        try:
            if self.jobs == 1:
                _work_on_share(0, self, left, work, title, results)
            elif left:
                self._spawn(left, work, title, results)
        except KeyboardInterrupt:
            print("\nstopped; run the same command again to go on from here", file=sys.stderr)
            raise

    def _spawn(self, *work: Any) -> None:
        """Let processes take their share each; they end with this one."""
        context = mp.spawn(_work_on_share, args=(self, *work), nprocs=self.jobs, join=False)
        try:
            while not context.join():
                pass
        finally:
            for process in context.processes:
                if process.is_alive():
                    os.kill(process.pid, signal.SIGINT)  # as Ctrl-C: its workers end quietly
            for process in context.processes:
                process.join(10)  # seconds to end by itself
                process.kill()


def _flattened(node: CfgNode, name: str, unused: set[str]) -> Iterator[tuple[str, str]]:
    for key, value in node.items():
        key = f"{name}.{key}"
        if isinstance(value, CfgNode) and key not in unused:
            yield from _flattened(value, key, unused)
        elif key not in unused:
            yield key, str(value)


def _work_on_share(
    number: int, run: LabelingRun, left: Sequence[dict], work: Work, title: str, results: Results
) -> None:
    """What a process does: it takes every ``jobs``-th record, from number ``number`` on."""
    share = left[number :: run.jobs]
    if not share:
        return
    cfg = run.cfg
    if run.jobs > 1:
        end_with_parent()
        title += f" {number + 1}/{run.jobs}"
        torch.set_num_threads(max(1, torch.get_num_threads() // run.jobs))
    if cfg.MODEL.DEVICE == "cuda":  # each process takes the next GPU
        cfg = with_keys(cfg, {"MODEL.DEVICE": f"cuda:{number % torch.cuda.device_count()}"})
    import_extra_modules(cfg)  # a process that was spawned does not have them
    model, _ = load_trained_model(cfg)
    model.eval()
    bad = []
    items = tqdm(
        run.items(cfg, share), title, len(share), unit="image", position=number, smoothing=0
    )
    with torch.no_grad():
        for record, item in zip(share, items, strict=True):
            if isinstance(item, InputError):
                result = run.unreadable(item)
                bad += [item] if result is None else []
            else:
                result = work(item, run.see(model, item))
            if result is not None:
                results.put(record["image_id"], result, run.machines.rank * MOST_PROCESSES + number)
    for error in bad:
        print(f"left out: {error}", flush=True)


def read_or_refuse(mapper: Callable[[dict], dict], record: dict) -> dict | InputError:
    try:
        return mapper(record)
    except InputError as error:
        return error
