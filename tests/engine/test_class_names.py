"""Class names: compared between data sets, written with a run, and known to what comes after it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bestie_d2.data import register_weak_dataset
from bestie_d2.engine.class_names import (
    check_class_names,
    check_trained_classes,
    classes_of,
    write_class_names,
)
from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError

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
