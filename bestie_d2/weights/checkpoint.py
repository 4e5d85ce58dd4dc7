"""Weights from elsewhere, by their own keys.

What a checkpoint is, is told by its keys: this project's own, the authors' released BESTIE or PAM
classifier, or a bare ImageNet backbone (HRNet as its authors or timm name it, torchvision's ResNet
and VGG).
"""

from __future__ import annotations

import glob
import os
import re
from collections.abc import Mapping, Sequence

from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

import bestie_d2.weights.sources  # noqa: F401 (teaches Detectron2 the timm:// prefix)
from bestie_d2.errors import InputError
from bestie_d2.weights.class_names import CLASSES, classes_beside, classes_in, compare_classes
from bestie_d2.weights.files import as_tensors, of_model_zoo, read_weights

BACKBONE = "backbone.body."
HEAD = "head."
CLASSIFIER_PARTS = ("fc.", "classifier.", "incre_modules.", "downsamp_modules.", "final_layer.")
RESNET_HEAD_NAMES = (
    (re.compile(r"^decoder\.(semantic|instance)_decoder\.fuse\.(\d)\.0\."), r"\1_decoder.fuse.\2."),
    (re.compile(r"^decoder\.(semantic|instance)_decoder\."), r"\1_decoder."),
    (re.compile(r"^decoder\.\w+_head\.classifier\.(\w+)\.0\.0\."), r"\1.0."),
    (re.compile(r"^decoder\.\w+_head\.classifier\.(\w+)\.1\."), r"\1.1."),
)
VGG_FEATURES = "features."  # of torchvision's VGG and of the released PAM classifier
PAM_ALIAS = re.compile(r"^layer\d_conv\d\.")  # its second names for the same tensors
CHECKPOINTS = "model_*.pth"  # in OUTPUT_DIR
LISTED = 5  # keys that an error names before it only counts


def rename_released_bestie(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released BESTIE state dict (HRNet or ResNet) under this project's names."""
    renamed = {}
    for key, value in state.items():
        if key.startswith("backbone."):
            key = BACKBONE + key.removeprefix("backbone.")
        elif key.startswith("decoder."):
            for pattern, replacement in RESNET_HEAD_NAMES:
                if pattern.match(key):
                    key = HEAD + pattern.sub(replacement, key)
                    break
        elif key.split(".")[0] in ("seg", "center", "offset"):
            key = HEAD + key
        else:
            key = BACKBONE + key
        renamed[key] = value
    return renamed


def rename_released_pam(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A released PAM classifier's state dict (VGG-16) under this project's names."""
    renamed = {}
    for key, value in state.items():
        if key.startswith(VGG_FEATURES):
            renamed[BACKBONE + key.removeprefix(VGG_FEATURES)] = value
        elif not PAM_ALIAS.match(key):
            renamed[HEAD + key] = value
    return renamed


def recognize(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Any known state dict under this project's names."""
    if any(key.startswith((BACKBONE, HEAD)) for key in state):
        return dict(state)
    if any(key.startswith(("decoder.", "seg.0.")) for key in state):
        return rename_released_bestie(state)
    if "extra_conv1.weight" in state:
        return rename_released_pam(state)
    if "features.0.weight" in state:
        return rename_released_pam({k: v for k, v in state.items() if k.startswith(VGG_FEATURES)})
    if "conv1.weight" in state and "layer1.0.conv1.weight" in state:
        return {
            BACKBONE + key: value
            for key, value in state.items()
            if not key.startswith(CLASSIFIER_PARTS)
        }
    return dict(state)


def _state_dict_of(content: object, path: str) -> dict[str, Tensor]:
    """The state dict that a file holds bare or under ``model`` or ``state_dict``."""
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    state = as_tensors(content)
    if state is None:
        raise InputError(f"checkpoint {path}: holds no state dict")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _listed(keys: list[str]) -> str:
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more


def _load_strictly(model: nn.Module, state: Mapping[str, Tensor], path: str) -> None:
    """Copy a state dict that has to fit to the last tensor."""
    own = model.state_dict()
    problems = []
    missing = [key for key in own if key not in state]
    left_over = [key for key in state if key not in own]
    misfit = [key for key in own if key in state and own[key].shape != state[key].shape]
    if missing:
        problems.append(f"missing {_listed(missing)}")
    if left_over:
        problems.append(f"left over {_listed(left_over)}")
    if misfit:
        shapes = [f"{k} {tuple(state[k].shape)} for {tuple(own[k].shape)}" for k in misfit]
        problems.append(f"of another shape {_listed(shapes)}")
    if problems:
        raise InputError(f"checkpoint {path} does not fit the model: {'; '.join(problems)}")
    model.load_state_dict(dict(state))


def load_released_bestie(model: nn.Module, path: str) -> None:
    """Load one of the authors' released BESTIE checkpoints, to the last tensor.

    Args:
        model: a ``BESTIE`` with the checkpoint's backbone, head and number of classes.
        path: ``.pt`` file with the state dict under ``model``.

    Raises:
        InputError: names what is missing, left over or of another shape.
    """
    _load_strictly(model, rename_released_bestie(_state_dict_of(read_weights(path), path)), path)


def load_released_pam(model: nn.Module, path: str) -> None:
    """Load the authors' released PAM classifier, to the last tensor.

    Args:
        model: a ``PAMClassifier`` on VGG-16 with the checkpoint's number of classes.
        path: ``.pth`` file with the state dict bare or under ``model``.

    Raises:
        InputError: names what is missing, left over or of another shape.
    """
    _load_strictly(model, rename_released_pam(_state_dict_of(read_weights(path), path)), path)


def classes_of_weights(path: str) -> list[str] | None:
    """The names of the classes that weights were trained with; None if nobody wrote them down.

    They are in the file, or else in a ``classes.json`` beside it.

    Raises:
        InputError: the file is no file of weights, or a list of classes is damaged.
    """
    return _classes_of(read_weights(path) if os.path.isfile(path) else {}, path)  # else fetched


def _classes_of(content: object, path: str) -> list[str] | None:
    inside = classes_in(content, f"checkpoint {path}") if isinstance(content, Mapping) else None
    return inside or classes_beside(path)


class BestieCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer that also reads foreign weights through ``MODEL.WEIGHTS``.

    Weights have to reach every tensor of the backbone, and of the whole model on request.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        whole: bool = False,
        classes: Sequence[str] = (),
        **others: object,
    ) -> None:
        """
        Args:
            whole: weights that leave any tensor of the model without a value are refused.
            classes: names of the classes that the model is trained with, in order. They are saved,
                and weights of the whole model that were trained with others are refused.
            others: as Detectron2's checkpointer takes them.
        """
        super().__init__(model, save_dir, **others)
        self.whole = whole
        self.classes = list(classes)
        self._resuming = False

    def save(self, name: str, **others: object) -> None:
        known = {CLASSES: self.classes} if self.classes else {}
        super().save(name, **known, **others)

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, object]:
        self._resuming = resume and self.has_checkpoint()
        if self._resuming:
            self._check_last()
        return super().resume_or_load(path, resume=resume)

    def get_checkpoint_file(self) -> str:
        """The last checkpoint; the newest file where a kill left the note of its name empty."""
        path = super().get_checkpoint_file()
        if not os.path.isdir(path):
            return path
        files = glob.glob(os.path.join(glob.escape(self.save_dir), CHECKPOINTS))
        return max(files, key=os.path.getmtime, default=path)  # written before its name is noted

    def _check_last(self) -> None:
        """Refuse to go on where ``last_checkpoint`` was torn, such as by a full disk."""
        try:
            path = self.get_checkpoint_file()
        except UnicodeDecodeError:
            path = ""
        if not os.path.isfile(path):
            raise InputError(
                f"{os.path.join(self.save_dir, 'last_checkpoint')}: names "
                f"{os.path.basename(path)!r}, which is no checkpoint there: write the name of one "
                "that is whole into it, such as model_0004999.pth, to go on from that"
            )

    def load(self, path: str, *args: object, **kwargs: object) -> dict[str, object]:
        self._path = path
        if path and "://" not in path and not os.path.isfile(path):
            raise InputError(f"checkpoint {path}: no such file")
        return super().load(path, *args, **kwargs)

    def _load_file(self, filename: str) -> dict[str, object]:
        """What is in a file, with its weights under ``model``.

        Raises:
            InputError: it is no file of weights.
        """
        content = read_weights(filename)
        from_zoo = of_model_zoo(content)
        if from_zoo:
            return from_zoo
        state = recognize(_state_dict_of(content, filename))
        names = _classes_of(content, filename)
        known = {"model": state, CLASSES: names} if names else {"model": state}
        if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
            return {**content, **known}  # iteration, optimizer and scheduler come along
        return known

    def _load_model(self, checkpoint: dict[str, object]) -> object:
        """Load, after making sure that everything that must get weights does."""
        if not checkpoint.get("matching_heuristics", False):
            self._check_reach(checkpoint["model"])
            self._check_classes(checkpoint)
        return super()._load_model(checkpoint)

    def _check_reach(self, given: Mapping[str, Tensor]) -> None:
        prefix = "" if self.whole else BACKBONE
        part = "model" if self.whole else "backbone"
        everything = self.model.state_dict()
        if given.keys().isdisjoint(everything):
            raise InputError(
                "MODEL.WEIGHTS holds nothing of this model (its tensors are "
                f"{_listed(list(given))})"
            )
        own = {k: v for k, v in everything.items() if k.startswith(prefix)}
        empty = [
            key
            for key, value in own.items()
            if value.dtype.is_floating_point
            and (key not in given or given[key].shape != value.shape)
        ]
        if empty:
            raise InputError(
                f"MODEL.WEIGHTS leaves {len(empty)} of {len(own)} tensors of the {part} without "
                f"weights ({_listed(empty)}): check MODEL.* against what the file was trained with"
            )

    def _check_classes(self, checkpoint: Mapping[str, object]) -> None:
        """Refuse a whole model that knows other classes; of a backbone alone none matter."""
        trained = checkpoint.get(CLASSES)
        if not trained or not self.classes:
            return
        given, own = checkpoint["model"], self.model.state_dict()
        fits = all(key in given and given[key].shape == own[key].shape for key in own)
        if fits or self._resuming:
            what = f"that {self._path} was trained with"
            compare_classes(what, trained, "the training set", self.classes)
