"""ImageNet weights by timm's name: ``MODEL.WEIGHTS: "timm://hrnet_w48"``.

Registered with Detectron2's path manager, so that every checkpointer understands such a path.
"""

from __future__ import annotations

import os

import timm
import torch
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler, file_lock, get_cache_dir

from bestie_d2.errors import InputError
from bestie_d2.storage.files import replacing

PREFIX = "timm://"


class TimmWeightsHandler(PathHandler):
    """Fetches a timm model's weights once and keeps them in iopath's cache folder."""

    def _get_supported_prefixes(self) -> list[str]:
        return [PREFIX]

    def _get_local_path(self, path: str, force: bool = False, **kwargs: object) -> str:
        """The weights as a ``torch.save`` file.

        Raises:
            InputError: timm does not know the model or cannot fetch its weights.
        """
        name = path.removeprefix(PREFIX)
        folder = get_cache_dir("timm")
        local = os.path.join(folder, f"{name}.pth")
        if os.path.exists(local) and not force:
            return local
        try:
            model = timm.create_model(name, pretrained=True)
        except Exception as error:  # whatever the hub's client raises
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise InputError(
                f"MODEL.WEIGHTS {path}: could not be fetched ({reason}); download the weights and "
                'give the path of the file, or train from scratch with MODEL.WEIGHTS ""'
            ) from error
        with file_lock(local), replacing(local, "wb") as file:  # makes the folder
            torch.save(model.state_dict(), file)
        return local


PathManager.register_handler(TimmWeightsHandler(), allow_override=True)
