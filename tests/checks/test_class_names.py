"""Class names: compared between data sets, written with a run, and known to what comes after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from bestie_d2.checks.training import (
    check_class_names,
    check_trained_classes,
    classes_of,
    write_class_names,
)
from bestie_d2.data import attach_weak_labels, register_weak_dataset
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.weights.checkpoint import BestieCheckpointer, classes_of_weights

SHAPES = str(Path(__file__).resolve().parents[2] / "configs" / "bestie_shapes.yaml")


@pytest.fixture
def register(tmp_path, new_name):
    """Registers a set whose classes are inferred from a CSV of these tags; returns its name."""

    def register(*tags: str, classes: list[str] | None = None) -> str:
        name = new_name()
        path = tmp_path / f"{name}.csv"
        path.write_text(f"a.png,{';'.join(tags)}\n")
        register_weak_dataset(name, images=str(tmp_path), tags=str(path), classes=classes)
        return name

    return register


def config(train: tuple[str, ...], test: tuple[str, ...] = (), *overrides: str):
    sets = ["DATASETS.TRAIN", str(train), "DATASETS.TEST", str(test)]
    return load_config(SHAPES, ["MODEL.DEVICE", "cpu", *sets, *overrides])


def test_sets_of_the_same_names_go_together(register):
    train = register("fish", "bug")
    assert classes_of(train) == ["bug", "fish"]
    check_class_names(config((train, register("bug", "fish")), (register("fish", "bug"),)))
    check_class_names(config((), ()))


def test_other_names_and_orders_are_refused(register):
    train, other = register("fish", "bug"), register("bug", "ship")
    turned = register("bug", "fish", classes=["fish", "bug"])
    line = rf"the classes of '{train}' of DATASETS.TRAIN are bug, fish, those of '{other}' of "
    with pytest.raises(InputError, match=line + r"DATASETS.TEST other ones \(bug, ship\)"):
        check_class_names(config((train,), (other,)))
    with pytest.raises(InputError, match=line + r"DATASETS.TRAIN other ones"):
        check_class_names(config((train, other)))
    with pytest.raises(InputError, match=r"TEST in another order \(fish, bug\)"):
        check_class_names(config((train,), (turned,)))
    with pytest.raises(InputError, match="'nowhere' is not registered"):
        check_class_names(config((train,), ("nowhere",)))


def test_a_run_knows_its_classes(register, tmp_path):
    train, other = register("fisch", "käfer"), register("bug", "fish")
    weights = tmp_path / "model_final.pth"
    cfg = config((train,), (), "OUTPUT_DIR", str(tmp_path), "MODEL.WEIGHTS", str(weights))
    check_trained_classes(cfg, other)  # nothing is known of these weights
    write_class_names(cfg)
    assert json.loads((tmp_path / "classes.json").read_text()) == {"classes": ["fisch", "käfer"]}
    check_trained_classes(cfg, train)
    line = r"that .*model_final.pth was trained with are fisch, käfer, those of .* other ones"
    with pytest.raises(InputError, match=line):
        check_trained_classes(cfg, other)


@pytest.mark.parametrize("content", ['{"classes": ["bug", ', "[]", '{"classes": [1]}', "{}"])
def test_a_torn_list_of_classes_is_told(register, tmp_path, content):
    path = tmp_path / "classes.json"
    path.write_text(content)
    cfg = config((register("bug"),), (), "MODEL.WEIGHTS", str(tmp_path / "model_final.pth"))
    with pytest.raises(InputError, match=rf"^{path}: does not hold the classes that the weights"):
        check_trained_classes(cfg, cfg.DATASETS.TRAIN[0])


class Tiny(nn.Module):
    """A backbone, and a head of as many classes."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.backbone = nn.ModuleDict({"body": nn.Linear(2, 2)})
        self.head = nn.Linear(2, num_classes)


def test_names_travel_inside_the_weights(register, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    BestieCheckpointer(Tiny(2), str(folder), classes=["fish", "bug"]).save("model", iteration=3)
    (folder / "classes.json").write_text('{"classes": ["of", "another"]}')
    path = str((folder / "model.pth").rename(tmp_path / "moved.pth"))
    assert torch.load(path, weights_only=True)["classes"] == ["fish", "bug"]
    assert classes_of_weights(path) == ["fish", "bug"]
    cfg = config((register("bug", "fish"),), (), "MODEL.WEIGHTS", path)
    with pytest.raises(
        InputError, match=r"moved.pth was trained with are fish, bug, those of .*bug"
    ):
        check_trained_classes(cfg, cfg.DATASETS.TRAIN[0])


@pytest.mark.parametrize("inside", [True, False])
def test_a_training_goes_on_with_the_same_classes_alone(tmp_path, inside):
    names = ["fish", "bug"]
    BestieCheckpointer(Tiny(2), str(tmp_path), classes=names if inside else ()).save("model_final")
    if not inside:  # an older checkpoint
        (tmp_path / "classes.json").write_text(json.dumps({"classes": names}))
    path = str(tmp_path / "model_final.pth")
    line = "model_final.pth was trained with are fish, bug, those of the training set other ones"
    for classes, others in ((2, ["fish", "cat"]), (3, ["fish", "bug", "cat"])):
        again = BestieCheckpointer(Tiny(classes), str(tmp_path), classes=others)
        with pytest.raises(InputError, match=line):
            again.resume_or_load("", resume=True)
    BestieCheckpointer(Tiny(2), str(tmp_path), classes=names).resume_or_load("", resume=True)
    with pytest.raises(InputError, match=line):  # the head would be taken over
        BestieCheckpointer(Tiny(2), classes=["fish", "cat"]).load(path)
    BestieCheckpointer(Tiny(3), classes=["fish", "bug", "cat"]).load(path)  # the backbone alone


@pytest.mark.parametrize("classes", [[], [1], "fish", {"fish": 1}])
def test_damaged_names_in_weights_are_told(tmp_path, classes):
    path = str(tmp_path / "model.pth")
    torch.save({"model": Tiny(2).state_dict(), "classes": classes}, path)
    with pytest.raises(
        InputError, match=rf"^checkpoint {path}: its 'classes' are no list of names"
    ):
        classes_of_weights(path)
    with pytest.raises(InputError, match="its 'classes' are no list of names"):
        BestieCheckpointer(Tiny(2)).load(path)


def test_weak_maps_that_were_made_with_other_classes(tmp_path):
    (tmp_path / "made_with.json").write_text('{"classes": ["bug", "fish"]}')
    record = {"file_name": "a.png", "height": 4, "width": 4}
    arguments = {"weak_maps": str(tmp_path), "cues": "", "num_classes": 2}
    with pytest.raises(
        InputError, match=r"of the weak maps in .* are bug, fish, those of .*another"
    ):
        attach_weak_labels([record], classes=["fish", "bug"], **arguments)
    with pytest.raises(
        InputError, match=r"image a.png: no such file"
    ):  # the next that is looked at
        attach_weak_labels([record], classes=["bug", "fish"], **arguments)
