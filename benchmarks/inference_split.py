"""Where the time of inference goes: the network's maps, and grouping them to instances."""

from __future__ import annotations

import itertools

import torch
from measuring import MILLISECONDS
from training_split import Stopwatch

from bestie_d2.engine.configuration import load_config
from bestie_d2.engine.trainer import Trainer, load_trained_model
from bestie_d2.labeling.decode import group_instances

WARM_UP = 2  # images before those that count


@torch.no_grad()
def split_of_inference(config_file: str, overrides: list[str], images: int) -> dict[str, float]:
    """Mean milliseconds of both for images of the test set, one at a time, and images a second.

    The network has the weights of ``MODEL.WEIGHTS``; without any it finds little to group.
    """
    cfg = load_config(config_file, overrides)
    model = load_trained_model(cfg)[0] if cfg.MODEL.WEIGHTS else Trainer.build_model(cfg)
    model.eval()
    watch = Stopwatch(model.device)
    loader = Trainer.build_test_loader(cfg, cfg.DATASETS.TEST[0])
    for number, (item,) in enumerate(itertools.islice(loader, WARM_UP + images)):
        if number == WARM_UP:
            watch.totals()
        with watch.stage("maps"):
            maps = model.predict_maps(item["image"], (item["height"], item["width"]))
        with watch.stage("grouping"):
            group_instances(*maps, **model.grouping)
    split = {name: spent / images for name, spent in watch.totals().items()}
    return {**split, "images/s": MILLISECONDS / sum(split.values())}
