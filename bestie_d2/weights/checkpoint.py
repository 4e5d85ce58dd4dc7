"""Saving this project's checkpoints, and loading those, released ones and ImageNet weights."""

from __future__ import annotations

import glob
import logging
import os
from collections.abc import Mapping, Sequence
from typing import IO, Any

import torch
from detectron2.checkpoint import DetectionCheckpointer
from torch import Tensor, nn

from bestie_d2.errors import InputError
from bestie_d2.storage.files import replacing
from bestie_d2.weights import key_names
from bestie_d2.weights.class_names import CLASSES, classes_beside, classes_in, compare_classes
from bestie_d2.weights.reading import as_tensors, of_model_zoo, read_weights

CHECKPOINTS = "model_*.pth"  # in OUTPUT_DIR
FINAL_CHECKPOINT = "model_final.pth"  # Detectron2's, after the last iteration
NOTE_OF_LAST = "last_checkpoint"  # holds the name of the last one
LISTED = 5  # keys that an error names before it only counts

logger = logging.getLogger(__name__)


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


def write_through(content: Mapping[str, Any], file: IO[bytes]) -> None:
    """Write with ``torch.save``, which adds a checksum for each tensor, and wait for the disk."""
    try:
        torch.save(content, file)
    except RuntimeError as error:  # about the end of the file: it hides that the disk is full
        if isinstance(error.__context__, OSError):
            raise error.__context__ from None
        raise
    file.flush()
    os.fsync(file.fileno())


class BestieCheckpointer(DetectionCheckpointer):
    """Detectron2's checkpointer that also reads foreign weights through ``MODEL.WEIGHTS``.

    Weights have to reach every tensor of the backbone, and of the whole model on request. A
    checkpoint is there whole or not at all, and a training goes on from the last that is whole.
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
        """Save the model, what belongs to its training, and ``others``, as ``name``.pth.

        Raises:
            InputError: it cannot be written; an earlier file of this name is as it was.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        known = {CLASSES: self.classes} if self.classes else {}
        parts = {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = os.path.join(self.save_dir, f"{name}.pth")
        logger.info("Saving checkpoint to %s", path)
        with replacing(path, "wb") as file:
            write_through({"model": self.model.state_dict(), **parts, **known, **others}, file)
        self.tag_last_checkpoint(os.path.basename(path))

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        with replacing(os.path.join(self.save_dir, NOTE_OF_LAST)) as file:
            file.write(last_filename_basename)

    def get_checkpoint_file(self) -> str:
        """The file that is noted as the last one, whether it is there or not; "" for none."""
        try:
            return super().get_checkpoint_file()
        except UnicodeDecodeError:  # a torn note
            return ""

    def has_checkpoint(self) -> bool:
        """Whether there is one to go on from, also where a kill came before its name was noted."""
        return super().has_checkpoint() or bool(self._saved())

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """As Detectron2's, but a training goes on from the last checkpoint that is whole.

        Raises:
            InputError: none is; the line names each.
        """
        self._resuming = resume and self.has_checkpoint()
        if self._resuming:
            return self.load(self._last_whole())
        return self.load(path, checkpointables=[])

    def _saved(self) -> list[str]:
        """In the order of their iterations, by the names: a clock may have been set back."""
        return sorted(glob.glob(os.path.join(glob.escape(self.save_dir), CHECKPOINTS)))

    def _last_whole(self) -> str:
        """The checkpoint that is noted as the last; if it is damaged, the last whole one before it,
        which is noted then, with a warning."""
        noted, before, problems = self.get_checkpoint_file(), self._saved()[::-1], []
        if os.path.isfile(noted):
            before = [noted, *(file for file in before if file < noted)]
        else:
            note, name = os.path.join(self.save_dir, NOTE_OF_LAST), os.path.basename(noted)
            problems = [f"{note}: names {name!r}, which is no checkpoint there"]
        for file in before:
            try:
                read_weights(file)
            except InputError as error:
                problems.append(str(error))
                continue
            if problems:
                logger.warning("%s; going on from %s", "; ".join(problems), file)
                if self.save_to_disk:
                    self.tag_last_checkpoint(os.path.basename(file))
            return file
        raise InputError(
            f"{'; '.join(problems)}; no checkpoint of {self.save_dir} is whole: put one back, or "
            "start anew in another OUTPUT_DIR"
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
