"""Detectron2's mapper for evaluation, which tells of a bad image in one line."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.data import DatasetMapper
from detectron2.data import transforms as T
from detectron2.data.detection_utils import SizeMismatchError

from bestie_d2.data.readers import IMAGE_ERRORS
from bestie_d2.errors import InputError


class EvaluationMapper(DatasetMapper):
    """A record -> ``image`` as the network takes it, with the record's other entries.

    Raises:
        InputError: the image is missing, unreadable or not of the record's size; names the file.
    """

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = False) -> dict:
        arguments = super().from_config(cfg, is_train)
        side = cfg.INPUT.TEST_SIDE
        if side:
            arguments["augmentations"] = [T.Resize((side, side))]
        return arguments

    def __call__(self, dataset_dict: dict) -> dict:
        try:
            return super().__call__(dataset_dict)
        except FileNotFoundError:
            reason = "no such file"
        except SizeMismatchError as error:
            reason = " ".join(str(error).split())
        except IMAGE_ERRORS as error:
            reason = f"not a readable image ({error})"
        raise InputError(f"image {dataset_dict['file_name']}: {reason}")
