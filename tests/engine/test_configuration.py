from pathlib import Path

import pytest
import torch

from bestie_d2.engine.configuration import load_config, load_run_config, with_trained_weights
from bestie_d2.errors import InputError


def test_the_device_is_cuda_where_there_is_one():
    assert ("cuda" if torch.cuda.is_available() else "cpu") == load_config().MODEL.DEVICE


def test_overrides_win_and_the_configuration_is_frozen():
    cfg = load_config("", ["MODEL.BESTIE.SIGMA", "2.5"])
    assert cfg.MODEL.BESTIE.SIGMA == 2.5
    with pytest.raises(AttributeError):
        cfg.MODEL.BESTIE.SIGMA = 3.0


def test_whole_numbers_do_for_floats(tmp_path):
    path = tmp_path / "whole.yaml"  # a path as well as its text
    path.write_text("MODEL: {BESTIE: {SIGMA: 3, LOSS: {CENTER_WEIGHT: 7}}}")
    cfg = load_config(path, ["MODEL.BESTIE.CLUSTERING.MIN_DISTANCE", "30"])
    values = (
        cfg.MODEL.BESTIE.SIGMA,
        cfg.MODEL.BESTIE.LOSS.CENTER_WEIGHT,
        cfg.MODEL.BESTIE.CLUSTERING.MIN_DISTANCE,
    )
    assert values == (3.0, 7.0, 30.0)
    assert {type(value) for value in values} == {float}


# Ten times ten times ten ...: a list of a million numbers.
ALIASES = "A0: &a0 [1]\n" + "".join(f"A{n}: &a{n} [{f'*a{n - 1},' * 10}]\n" for n in range(1, 7))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("MODEL: {BESTIE: {SIGMAS: 3}}", "SIGMAS"),
        ("MODEL: {BESTIE: {SIGMA: [1]}}", "SIGMA"),
        ("MODEL: {BESTIE: [", "while parsing"),
        ('_BASE_: "absent.yaml"', "absent.yaml"),
        ("_BASE_: [absent.yaml]", "absent.yaml"),
        ("_BASE_: {a.yaml: 1}", "is {'a.yaml': 1}, expected a file name or a list of them"),
        ("_BASE_: [5]", "is [5], expected a file name or a list of them"),
        ("_BASE_: ['']", "is [''], expected a file name or a list of them"),
        ("_BASE_: 0", "is 0, expected a file name or a list of them"),
        ("_BASE_: [wrong.yaml]", "wrong.yaml: is a base of itself"),
        ('_BASE_: "a\\0.yaml"', ".yaml: no such file"),
        ('_BASE_: "model_zoo://"', "model_zoo:// is no file of the model zoo"),
        ("[1, 2]", "expected keys and values"),
        ("SEED: 1\nSEED: 2", "line 2 gives the key 'SEED' once more"),
        ("MODEL:\n  BESTIE: {SIGMA: 1, SIGMA: 2}", "line 2 gives the key 'SIGMA' once more"),
        ('_BASE_: "model_zoo://no.yaml"', "no.yaml"),
        ("DATASETS: {TRAIN: [2012]}", "DATASETS.TRAIN is [2012], expected names of data sets"),
        ("DATASETS: {CUSTOM: [{name: 5, images: y}]}", "'name' is 5, expected text"),
        ("DATASETS: {CUSTOM: [{name: x, images: y, classes: fish}]}", "expected a list"),
        ("DATASETS: {CUSTOM: [{name: x, image: y}]}", "unknown key 'image'"),
        ("A: !!python/object/apply:os.getcwd []", "tag:yaml.org,2002:python/object/apply:os.get"),
        ("A: " + "[" * 10_000, "maximum recursion depth"),
        ("A: 2026-99-99", "month must be in 1..12"),
        (ALIASES, "line 6 holds more than 100000 values by its aliases"),
        ("SOLVER: {MAX_ITER: 59" + ":59" * 5_000 + "}", "line 1 gives a whole number of more than"),
        ("SOLVER: {BASE_LR: 0x" + "f" * 5_000 + "}", "line 1 gives a whole number of more than 64"),
    ],
)
def test_a_wrong_file_is_told_in_one_line(tmp_path, content, message):
    path = tmp_path / "wrong.yaml"
    path.write_text(content)
    with pytest.raises(InputError) as error:
        load_config(str(path))
    assert message in str(error.value)
    assert "\n" not in str(error.value)


def test_each_base_goes_over_those_before_it(tmp_path):
    bases = {
        "lowest.yaml": "SEED: 1",
        "low.yaml": "_BASE_: lowest.yaml\nSEED: 2\nSOLVER: {MAX_ITER: 3, BASE_LR: 0.5}",
        "high.yaml": "_BASE_: [lowest.yaml]\nSOLVER: {MAX_ITER: 4}\nDATASETS: {TEST: [a, b]}",
        "run.yaml": "_BASE_: [low.yaml, high.yaml]\nDATASETS: {TEST: [c]}",
    }
    for name, content in bases.items():
        (tmp_path / name).write_text(content)
    cfg = load_config(tmp_path / "run.yaml")
    assert (cfg.SEED, cfg.SOLVER.MAX_ITER, cfg.SOLVER.BASE_LR) == (1, 4, 0.5)
    assert cfg.DATASETS.TEST == ("c",)


def test_a_mistake_in_a_later_base_names_it(tmp_path):
    (tmp_path / "fine.yaml").write_text("SEED: 1")
    (tmp_path / "wrong.yaml").write_text("SEEDS: 1")
    (tmp_path / "run.yaml").write_text("_BASE_: [fine.yaml, wrong.yaml]")
    with pytest.raises(InputError, match=r"_BASE_ .*wrong\.yaml: SEEDS: no such key"):
        load_config(tmp_path / "run.yaml")


@pytest.mark.parametrize(
    ("content", "fits", "too_many", "told"),
    [
        ("_BASE_: [{0}.yaml, {0}.yaml]", 4, 40, "takes more than 50 files, by _BASE_"),  # 2 ** 40
        ("_BASE_: {0}.yaml", 49, 50, "_BASE_ goes more than 50 files deep"),
    ],
)
def test_endless_bases_are_refused(tmp_path, content, fits, too_many, told):
    (tmp_path / "0.yaml").write_text("SEED: 1")
    for number in range(too_many):
        (tmp_path / f"{number + 1}.yaml").write_text(content.format(number))
    assert load_config(tmp_path / f"{fits}.yaml").SEED == 1
    with pytest.raises(InputError, match=told):
        load_config(tmp_path / f"{too_many}.yaml")


@pytest.mark.parametrize("nothing", ["", "''", "[]"])
def test_a_file_without_a_base_is_none(tmp_path, nothing):
    (tmp_path / "run.yaml").write_text(f"_BASE_: {nothing}\nSEED: 7")
    assert load_config(tmp_path / "run.yaml").SEED == 7


@pytest.mark.parametrize(
    ("key", "meant"),
    [
        ("MODEL.BESTIE.SIGMAA", "MODEL.BESTIE.SIGMA"),
        ("MODEL.BESTI.SIGMA", "MODEL.BESTIE.SIGMA"),
        ("model.bestie.sigma", "MODEL.BESTIE.SIGMA"),
        ("SIGMA", "MODEL.BESTIE.SIGMA"),
        ("BESTIE.CROP_SIZE", "INPUT.BESTIE.CROP_SIZE"),
        ("MODEL.BESTIE.CROP_SIZE", "INPUT.BESTIE.CROP_SIZE"),
        ("CROP_SIZE", "INPUT.TAGS.CROP_SIZE or INPUT.BESTIE.CROP_SIZE"),
        ("SOLVER.LR", "SOLVER.BASE_LR"),
        ("SOLVER.MAX_ITERATIONS", "SOLVER.MAX_ITER"),
        ("SOLVER.MAXITER", "SOLVER.MAX_ITER"),
        ("MODEL.BACKBONES", "MODEL.BACKBONE"),
        ("OUTPUT-DIR", "OUTPUT_DIR"),
        ("MODEL.BESTIE.SIGMA.VALUE", "MODEL.BESTIE.SIGMA"),
    ],
)
def test_an_unknown_key_is_told_with_the_one_that_is_meant(key, meant, tmp_path):
    with pytest.raises(InputError) as told:
        load_config("", [key, "1"])
    question = f"{key}: no such key; did you mean {meant}?"
    assert str(told.value) == f"override on the command line: {question}"


def test_an_unknown_key_without_a_like_one_gets_no_hint():
    with pytest.raises(InputError, match=r"NOTHING\.LIKE_IT: no such key$"):
        load_config("", ["NOTHING.LIKE_IT", "1"])


def test_the_file_with_the_unknown_key_is_named(tmp_path):
    (tmp_path / "base.yaml").write_text("MODEL: {BESTIE: {SIGMAA: 3}}")
    run = tmp_path / "run.yaml"
    run.write_text("_BASE_: base.yaml\nSEED: 1")
    with pytest.raises(InputError) as told:
        load_config(str(run))
    assert str(told.value) == (
        f"--config-file {run}: _BASE_ {tmp_path}/base.yaml: MODEL.BESTIE.SIGMAA: no such key; "
        "did you mean MODEL.BESTIE.SIGMA?"
    )
    run.write_text("MODEL: {BESTI: {SIGMA: 3}}")
    with pytest.raises(
        InputError, match=r"MODEL\.BESTI: no such key; did you mean MODEL\.BESTIE\?"
    ):
        load_config(str(run))


@pytest.mark.parametrize(
    ("key", "value", "line"),
    [
        ("MODEL.BESTIE.SIGMA", "[1]", "is [1] (a list), expected a number"),
        ("MODEL.BESTIE.SIGMA", "wide", "is 'wide' (text), expected a number"),
        ("SOLVER.MAX_ITER", "1.5", "is 1.5 (a number), expected a whole number"),
        ("SOLVER.ADAM", "1", "is 1 (a whole number), expected True or False"),
        ("SOLVER.ADAM", "yes please", "is 'yes please' (text), expected True or False"),
        ("MODEL.WEIGHTS", "5", "is 5 (a whole number), expected text"),
        ("DATASETS.TEST", "shapes_val", "is 'shapes_val' (text), expected a list"),
        ("MODEL.BESTIE", "3", "is 3 (a whole number), expected keys and values"),
        ("MODEL.BESTIE.SIGMA", "{a: 1}", None),
        ("MODEL.BESTIE.SIGMA", "", None),
    ],
)
def test_a_value_of_another_kind_is_told(key, value, line, tmp_path):
    if line:
        with pytest.raises(InputError) as told:
            load_config("", [key, value])
        assert str(told.value) == f"override on the command line: {key} {line}"
    path = tmp_path / "wrong.yaml"
    text = value
    for name in reversed(key.split(".")):
        text = f"{{{name}: {text}}}"
    path.write_text(text)
    with pytest.raises(InputError) as told:
        load_config(str(path))
    assert str(told.value).startswith(f"--config-file {path}: {key} is ")


def test_a_value_that_was_forgotten_is_told(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_text("MODEL:\n  BESTIE:\n    SIGMA:\n")
    with pytest.raises(InputError, match=r"MODEL\.BESTIE\.SIGMA is empty, expected a number"):
        load_config(str(path))
    path.write_text("")
    assert load_config(str(path)).MODEL.BESTIE.SIGMA == 6.0
    path.write_text("SOLVER: {WEIGHT_DECAY_NORM: None}")
    assert load_config(str(path)).SOLVER.WEIGHT_DECAY_NORM is None


def test_a_file_is_no_base_of_itself(tmp_path):
    for name, base in (("a", "b"), ("b", "a")):
        (tmp_path / f"{name}.yaml").write_text(f"_BASE_: {base}.yaml")
    with pytest.raises(InputError, match=r"b\.yaml: _BASE_ .*a\.yaml: is a base of itself"):
        load_config(str(tmp_path / "a.yaml"))


@pytest.mark.parametrize("overrides", [["MODEL.BESTIE.SIGMA"], ["NO.SUCH", "1"]])
def test_wrong_overrides_are_told(overrides):
    with pytest.raises(InputError, match=overrides[0].replace(".", r"\.")):
        load_config("", overrides)


def test_a_trained_model_is_the_last_checkpoint_unless_weights_are_named(tmp_path):
    (tmp_path / "start.pth").touch()
    yaml = tmp_path / "run.yaml"
    yaml.write_text(f'MODEL:\n  WEIGHTS: "{tmp_path}/start.pth"\nOUTPUT_DIR: "{tmp_path}"\n')

    def weights(*overrides: str) -> str:
        cfg = load_config(str(yaml), overrides)
        return Path(with_trained_weights(cfg, overrides).MODEL.WEIGHTS).name

    assert weights() == "start.pth"  # nothing has been trained yet
    (tmp_path / "last_checkpoint").write_text("model_0000007.pth")
    (tmp_path / "model_0000007.pth").touch()
    assert weights() == "model_0000007.pth"
    assert weights("SEED", "3", "MODEL.WEIGHTS", str(tmp_path / "start.pth")) == "start.pth"
    with pytest.raises(InputError, match=r"MODEL\.WEIGHTS nowhere\.pth: no such file"):
        weights("MODEL.WEIGHTS", "nowhere.pth")
    (tmp_path / "last_checkpoint").unlink()
    with pytest.raises(InputError, match="has no checkpoint"):
        weights("MODEL.WEIGHTS", "")


def test_a_run_that_is_not_finished_is_said_to_be_so(tmp_path):
    (tmp_path / "config.yaml").write_text("SEED: 1\n")
    with pytest.raises(InputError, match=r"no model_final\.pth, so .* not finished; name weights"):
        load_run_config(tmp_path)
    last = tmp_path / "model_0000049.pth"
    last.touch()  # copied without the note that it is the last one
    with pytest.raises(InputError) as told:
        load_run_config(tmp_path)
    assert f"take its last checkpoint by --weights {last}, or go on" in str(told.value)
    assert str(last) == load_run_config(tmp_path, ["MODEL.WEIGHTS", str(last)]).MODEL.WEIGHTS
    (tmp_path / "last_checkpoint").write_text(last.name)
    assert str(last) == load_run_config(tmp_path).MODEL.WEIGHTS
