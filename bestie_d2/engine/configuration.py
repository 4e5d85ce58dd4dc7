"""From a command line to a configuration: files on their bases, keys and values; an output folder.

Every mistake is an ``InputError`` that names the file or key, and what fits.
"""

from __future__ import annotations

import argparse
import glob
import importlib
import os
import sys
from collections.abc import Sequence

from detectron2.config import CfgNode, get_cfg
from detectron2.engine import default_setup
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from torch import nn

from bestie_d2.config import add_bestie_config
from bestie_d2.data import register_custom_datasets, register_subset
from bestie_d2.engine.config_files import merge_file, set_keys
from bestie_d2.errors import InputError, naming
from bestie_d2.model_keys import with_keys
from bestie_d2.shipped import config_path
from bestie_d2.storage.files import make_folder
from bestie_d2.weights.checkpoint import (
    CHECKPOINTS,
    FINAL_CHECKPOINT,
    NOTE_OF_LAST,
    BestieCheckpointer,
)

RUN_CONFIG = "config.yaml"  # in OUTPUT_DIR, whole; Detectron2 writes it when a training begins
WEIGHTS = "MODEL.WEIGHTS"


def load_config(config_file: str | os.PathLike = "", overrides: Sequence[str] = ()) -> CfgNode:
    """Defaults, then a yaml file with its ``_BASE_``, then ``KEY VALUE`` pairs; frozen. Modules of
    ``EXTRA_MODULES`` are imported, data sets of ``DATASETS.CUSTOM`` registered, and with
    ``DATASETS.SUBSET`` those of these classes stand in ``DATASETS.TRAIN`` and ``TEST``. A file
    ``configs/NAME.yaml`` that is not there is the package's own, as a base too."""
    cfg = get_cfg()
    add_bestie_config(cfg)
    named = config_file = os.fspath(config_file)
    if config_file:
        config_file = config_path(named)
        if not os.path.isfile(config_file):
            raise InputError(f"--config-file {config_file}: no such file")
        if config_file != os.path.expanduser(named):
            print(f"{named}: not here; taken from the package, {config_file}", file=sys.stderr)
        merge_file(cfg, config_file, f"--config-file {config_file}")
    if len(overrides) % 2:
        raise InputError(f"overrides come as KEY VALUE pairs, got {' '.join(overrides)!r}")
    with naming("override on the command line"):
        set_keys(cfg, zip(overrides[::2], overrides[1::2], strict=True))
    import_extra_modules(cfg, os.path.dirname(config_file), "")
    register_custom_datasets(cfg.DATASETS.CUSTOM)
    _restrict_data_sets(cfg)
    cfg.freeze()
    return cfg


def _restrict_data_sets(cfg: CfgNode) -> None:
    """Put sets of ``DATASETS.SUBSET`` alone in the place of those that the configuration names."""
    sets, progress = cfg.DATASETS, cfg.TEST.LABEL_PROGRESS
    for key in ("TRAIN", "TEST"):
        names = sets[key]
        if not all(isinstance(name, str) for name in names):
            raise InputError(f"DATASETS.{key} is {[*names]}, expected names of data sets")
        sets[key] = tuple(register_subset(name, sets.SUBSET) for name in names)
    progress.DATASET = register_subset(progress.DATASET, sets.SUBSET)


def import_extra_modules(cfg: CfgNode, *folders: str) -> None:
    """Import the modules that register a user's own parts, as every process has to; they are looked
    for in ``folders`` at last, which processes that are spawned know too."""
    found = map(os.path.abspath, folders if cfg.EXTRA_MODULES else ())
    sys.path += [folder for folder in dict.fromkeys(found) if folder not in sys.path]
    for name in cfg.EXTRA_MODULES:
        try:
            importlib.import_module(name)
        except Exception as error:  # whatever the module raises
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise InputError(
                f"EXTRA_MODULES: {name} cannot be imported ({reason}); a module is looked for "
                "among installed packages, beside the configuration and in the working directory"
            ) from error


def with_trained_weights(cfg: CfgNode, overrides: Sequence[str] = ()) -> CfgNode:
    """The configuration with ``MODEL.WEIGHTS`` a trained model's: the last checkpoint of
    ``OUTPUT_DIR``, if there is one, since a file names what training starts from; unless
    ``overrides``, the ``KEY VALUE`` pairs that it was loaded with, name weights."""
    path = cfg.MODEL.WEIGHTS
    note = os.path.join(cfg.OUTPUT_DIR, NOTE_OF_LAST)
    if WEIGHTS not in overrides[::2] and os.path.exists(note):
        path = _noted_checkpoint(cfg.OUTPUT_DIR)
        if not os.path.isfile(path):
            name = os.path.basename(path)
            raise InputError(
                f"{note}: names {name!r}, which is no checkpoint there; put the name of one into "
                "it, or name weights by MODEL.WEIGHTS"
            )
    if not path:
        raise InputError(
            f"no weights: set MODEL.WEIGHTS, or OUTPUT_DIR to a folder that was trained into "
            f"({cfg.OUTPUT_DIR} has no checkpoint)"
        )
    if "://" not in path and not os.path.isfile(path):
        raise InputError(f"MODEL.WEIGHTS {path}: no such file")
    return with_keys(cfg, {WEIGHTS: path})


def load_run_config(folder: str | os.PathLike, overrides: Sequence[str] = ()) -> CfgNode:
    """The configuration of a finished training with its last weights, by its ``OUTPUT_DIR`` alone,
    wherever that lies now: no data set is needed, and the device is one that this machine has."""
    folder = os.fspath(folder)
    path = os.path.join(folder, RUN_CONFIG)
    if not os.path.isfile(path):
        raise InputError(f"run {folder}: no {RUN_CONFIG} there: name the OUTPUT_DIR of a training")
    default = get_cfg()
    add_bestie_config(default)
    here = ["MODEL.DEVICE", default.MODEL.DEVICE, "DATASETS.CUSTOM", "[]", "DATASETS.TRAIN", "()"]
    cfg = load_config(path, [*here, *overrides])
    cfg = with_keys(cfg, {"OUTPUT_DIR": folder})
    if WEIGHTS not in overrides[::2]:  # what training started from is no trained model
        cfg = with_keys(cfg, {WEIGHTS: os.path.join(folder, FINAL_CHECKPOINT)})
        _check_trained(folder)
    return with_trained_weights(cfg, overrides)


def _noted_checkpoint(folder: str) -> str:
    return BestieCheckpointer(nn.Module(), folder).get_checkpoint_file()


def _check_trained(folder: str) -> None:
    """Refuse the folder of a training that has left no checkpoint to be taken."""
    final = os.path.join(folder, FINAL_CHECKPOINT)
    if os.path.isfile(final) or os.path.isfile(_noted_checkpoint(folder)):
        return
    found = glob.glob(os.path.join(glob.escape(folder), CHECKPOINTS))
    last = max(found, key=os.path.getmtime, default="")
    raise InputError(
        f"run {folder}: has no {FINAL_CHECKPOINT}, so its training is not finished; "
        + (f"take its last checkpoint by --weights {last}" if last else "name weights by --weights")
        + ", or go on with the training (train --resume, or the pipeline's command again)"
    )


def check_output(output_dir: str, *, resume: bool) -> None:
    """Refuse to start a training anew where another one has left checkpoints."""
    found = sorted(glob.glob(os.path.join(glob.escape(output_dir), CHECKPOINTS)))
    if found and not resume:
        raise InputError(
            f"OUTPUT_DIR {output_dir}: holds a training ({os.path.basename(found[-1])}). --resume "
            "goes on with it; to start anew, choose another OUTPUT_DIR or move that folder away"
        )


def setup_run(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Set up output folder, logging and seed of a run."""
    make_folder(cfg.OUTPUT_DIR, "OUTPUT_DIR")
    found = {**vars(args), "config_file": config_path(args.config_file)}  # Detectron2 prints it
    default_setup(cfg, argparse.Namespace(**found))
    # Our own messages, beside Detectron2's.
    setup_logger(cfg.OUTPUT_DIR, distributed_rank=comm.get_rank(), name="bestie_d2")
