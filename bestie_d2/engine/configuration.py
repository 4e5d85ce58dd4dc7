"""From command line to configuration."""

from __future__ import annotations

import argparse
import glob
import os
from collections.abc import Sequence

from detectron2 import model_zoo
from detectron2.config import CfgNode, get_cfg
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger
from fvcore.common.checkpoint import Checkpointer
from torch import nn

from bestie_d2.checks.config import check_config
from bestie_d2.config import add_bestie_config
from bestie_d2.data import register_custom_datasets
from bestie_d2.engine.config_keys import key_value_pairs, set_keys
from bestie_d2.engine.strict_yaml import load_strict_yaml
from bestie_d2.errors import InputError
from bestie_d2.storage.files import make_folder
from bestie_d2.weights.checkpoint import CHECKPOINTS

BASE = "_BASE_"
WEIGHTS = "MODEL.WEIGHTS"
MODEL_ZOO = "model_zoo://"  # a _BASE_ out of the installed Detectron2's own configurations


def load_config(config_file: str = "", overrides: Sequence[str] = ()) -> CfgNode:
    """Defaults, then a yaml file with its ``_BASE_``, then ``KEY VALUE`` pairs; frozen.

    Data sets of ``DATASETS.CUSTOM`` are registered.

    Raises:
        InputError: names the file or key that is wrong.
    """
    cfg = get_cfg()
    add_bestie_config(cfg)
    if config_file:
        if not os.path.isfile(config_file):
            raise InputError(f"--config-file {config_file}: no such file")
        _merge_file(cfg, config_file, f"--config-file {config_file}")
    if len(overrides) % 2:
        raise InputError(f"overrides come as KEY VALUE pairs, got {' '.join(overrides)!r}")
    try:
        set_keys(cfg, zip(overrides[::2], overrides[1::2], strict=True))
    except InputError as error:
        raise InputError(f"override on the command line: {error}") from None
    register_custom_datasets(cfg.DATASETS.CUSTOM)
    cfg.freeze()
    return cfg


def _merge_file(cfg: CfgNode, path: str, where: str, above: tuple[str, ...] = ()) -> None:
    """Merge a yaml file on top of its ``_BASE_``, which lies beside it or in the model zoo.

    Args:
        where: the option that names it, for the errors.
        above: the files that it is a base of.
    """
    content = load_strict_yaml(path, where)
    base = content.pop(BASE, None)
    if base is not None and not isinstance(base, str):
        raise InputError(f"{where}: {BASE} is {base!r}, expected one file name")
    above = (*above, os.path.realpath(path))
    if base and base.startswith(MODEL_ZOO):
        name = base.removeprefix(MODEL_ZOO)
        if os.path.isabs(name) or ".." in name.split("/"):  # Detectron2 runs what a file asks for
            raise InputError(f"{where}: {BASE} {base} is no file of the model zoo")
        try:
            cfg.merge_from_file(model_zoo.get_config_file(name))
        except RuntimeError as error:
            raise InputError(f"{where}: {BASE}: {' '.join(str(error).split())}") from None
    elif base:
        file = os.path.join(os.path.dirname(path), os.path.expanduser(base))
        if os.path.realpath(file) in above:
            raise InputError(f"{where}: {BASE} {file}: is a base of itself")
        _merge_file(cfg, file, f"{where}: {BASE} {file}", above)
    try:
        set_keys(cfg, key_value_pairs(content, cfg))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None


def with_trained_weights(cfg: CfgNode, overrides: Sequence[str] = ()) -> CfgNode:
    """The configuration with ``MODEL.WEIGHTS`` a trained model's: for evaluation and labeling.

    A configuration file's ``MODEL.WEIGHTS`` is what training starts from, so the last checkpoint of
    ``OUTPUT_DIR``, if there is one, takes its place.

    Args:
        overrides: the ``KEY VALUE`` pairs that the configuration was loaded with; weights named
            there are kept.

    Raises:
        InputError: there are no weights.
    """
    last = Checkpointer(nn.Module(), cfg.OUTPUT_DIR).get_checkpoint_file()
    path = cfg.MODEL.WEIGHTS if WEIGHTS in overrides[::2] or not last else last
    if not path:
        raise InputError(
            f"no weights: set MODEL.WEIGHTS, or OUTPUT_DIR to a folder that was trained into "
            f"({cfg.OUTPUT_DIR} has no checkpoint)"
        )
    if "://" not in path and not os.path.isfile(path):
        raise InputError(f"MODEL.WEIGHTS {path}: no such file")
    cfg = cfg.clone()
    cfg.defrost()
    cfg.MODEL.WEIGHTS = path
    cfg.freeze()
    return cfg


def run_config(args: argparse.Namespace) -> CfgNode:
    """Configuration of a command line, looked through."""
    cfg = load_config(args.config_file, args.opts)
    check_config(cfg)
    return cfg


def check_output(output_dir: str, *, resume: bool) -> None:
    """Refuse to start a training anew where another one has left checkpoints.

    Raises:
        InputError: names the folder, and says what to do.
    """
    found = sorted(glob.glob(os.path.join(glob.escape(output_dir), CHECKPOINTS)))
    if found and not resume:
        raise InputError(
            f"OUTPUT_DIR {output_dir}: holds a training ({os.path.basename(found[-1])}). --resume "
            "goes on with it; to start anew, choose another OUTPUT_DIR or move that folder away"
        )


def setup_run(cfg: CfgNode, args: argparse.Namespace) -> None:
    """Set up output folder, logging and seed of a run."""
    from detectron2.engine import default_setup  # pulls in the whole engine: only when a run starts

    make_folder(cfg.OUTPUT_DIR, "OUTPUT_DIR")
    default_setup(cfg, args)
    log_to(cfg.OUTPUT_DIR)


def log_to(output_dir: str) -> None:
    """Show this package's own messages and write them to a run's log, beside Detectron2's."""
    setup_logger(output_dir, distributed_rank=comm.get_rank(), name="bestie_d2")
