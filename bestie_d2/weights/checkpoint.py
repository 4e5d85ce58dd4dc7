"""Saving this project's checkpoints, and loading those, released ones and ImageNet weights."""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from typing import Any

from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from bestie_d2.errors import InputError
from bestie_d2.weights import key_names
from bestie_d2.weights.class_names import CLASSES, classes_beside, classes_in, compare_classes
from bestie_d2.weights.reading import as_tensors, of_model_zoo, read_weights

CHECKPOINTS = "model_*.pth"  # in OUTPUT_DIR
FINAL_CHECKPOINT = "model_final.pth"  # Detectron2's, after the last iteration
LISTED = 5  # keys that an error names before it only counts


def _state_dict_of(content: object, path: str) -> dict[str, Tensor]:
    """The state dict that a file holds bare or under ``model`` or ``state_dict``."""
    for key in ("model", "state_dict"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
    state = as_tensors(content)
    if state is None:
        raise InputError(f"checkpoint {path}: holds no state dict")
    return {key.removeprefix("module."): value for key, value in state.items()}


def _listed(keys: Sequence[str]) -> str:
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more


def _load_released(model: nn.Module, path: str, rules: key_names.Rules) -> None:
    given = key_names.rename(_state_dict_of(read_weights(path), path), rules)
    wanted = model.state_dict()
    shapes = {k: (tuple(given[k].shape), tuple(v.shape)) for k, v in wanted.items() if k in given}
    wrong = {
        "missing": [key for key in wanted if key not in given],
        "left over": [key for key in given if key not in wanted],
        "of another shape": [f"{k} {has} for {to}" for k, (has, to) in shapes.items() if has != to],
    }
    problems = [f"{what} {_listed(keys)}" for what, keys in wrong.items() if keys]
    if problems:
        raise InputError(f"checkpoint {path} does not fit the model: {'; '.join(problems)}")
    model.load_state_dict(given)


def load_released_bestie(model: nn.Module, path: str) -> None:
    """Load one of the authors' released BESTIE checkpoints, to the last tensor.

    Args:
        model: a ``BESTIE`` with the checkpoint's backbone, head and number of classes.
        path: ``.pt`` file with the state dict under ``model``.

    Raises:
        InputError: names what is missing, left over or of another shape.
    """
    _load_released(model, path, key_names.RELEASED_BESTIE)


def load_released_pam(model: nn.Module, path: str) -> None:
    """The same for the authors' PAM classifier: a ``PAMClassifier`` on VGG-16, a ``.pth`` file."""
    _load_released(model, path, key_names.RELEASED_PAM)


def classes_of_weights(path: str) -> list[str] | None:
    """The names of the classes that weights were trained with; None if nobody wrote them down.

    They are in the file, or else in a ``classes.json`` beside it. No tensor is read.

    Raises:
        InputError: the file is no file of weights, or a list of classes is damaged.
    """
    here = os.path.isfile(path)  # else fetched
    return _classes_of(read_weights(path, without_tensors=True) if here else {}, path)


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
        **others: Any,
    ) -> None:
        """
        Args:
            whole: weights that leave any tensor of the model without a value are refused.
            classes: names of the classes that the model is trained with, in order. They are saved,
                and weights of the whole model that were trained with others are refused.
            others: as Detectron2's checkpointer takes them.
        """
        super().__init__(model, save_dir, **others)
        self.whole, self.classes, self._resuming = whole, list(classes), False

    def save(self, name: str, **others: object) -> None:
        known = {CLASSES: self.classes} if self.classes else {}
        super().save(name, **known, **others)

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
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

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        self._path = path
        if path and "://" not in path and not os.path.isfile(path):
            raise InputError(f"checkpoint {path}: no such file")
        return super().load(path, *args, **kwargs)

    def _load_file(self, filename: str) -> dict[str, Any]:
        """What is in a file of weights, with them under ``model``."""
        content = read_weights(filename)
        from_zoo = of_model_zoo(content)
        if from_zoo:
            return from_zoo
        state = key_names.recognize(_state_dict_of(content, filename), self.model.state_dict())
        names = _classes_of(content, filename)
        known: dict[str, Any] = {"model": state, CLASSES: names} if names else {"model": state}
        if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
            return {**content, **known}  # iteration, optimizer and scheduler come along
        return known

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        """Load, after making sure that everything that must get weights does."""
        if not checkpoint.get("matching_heuristics", False):
            given, ours = checkpoint["model"], self.model.state_dict()
            unfit = [k for k, v in ours.items() if k not in given or given[k].shape != v.shape]
            self._check_reach(given, ours, unfit)
            trained = checkpoint.get(CLASSES)
            # Of a backbone alone no classes matter.
            if trained and self.classes and (self._resuming or not unfit):
                what = f"that {self._path} was trained with"
                compare_classes(what, trained, "the training set", self.classes)
        return super()._load_model(checkpoint)

    def _check_reach(self, given: Mapping, ours: Mapping, unfit: Sequence[str]) -> None:
        if given.keys().isdisjoint(ours):
            names = _listed(list(given))
            raise InputError(f"MODEL.WEIGHTS holds nothing of this model (its tensors are {names})")
        wanted = {key for key in ours if self.whole or key_names.BODY.match(key)}
        empty = [k for k in unfit if k in wanted and ours[k].dtype.is_floating_point]
        if empty:
            part = "model" if self.whole else "backbone"
            raise InputError(
                f"MODEL.WEIGHTS leaves {len(empty)} of {len(wanted)} tensors of the {part} without "
                f"weights ({_listed(empty)}): check MODEL.* against what the file was trained with"
            )
