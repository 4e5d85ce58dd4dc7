"""Which keys and which data a stage's product depends on; and what a change of one is told as."""

from __future__ import annotations

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from bestie_d2.pipeline.definition import KINDS
from bestie_d2.pipeline.dependencies import DATA as PARTS
from bestie_d2.pipeline.dependencies import IMAGES, TAGS, WEAK_MAPS, WEIGHTS, Hashes, counts
from bestie_d2.pipeline.runner import CHANGED, Decision, tell
from bestie_d2.pipeline.state import NOT_MADE, Found, Sources

TRAININGS = ["pam", "wsss", "bestie", "mrcnn", "mrcnn_truth"]
USES = ["cues", "maps", "cam_maps", "components", "export", "evaluate"]
NODES = {"pam": "PAM", "cues": "PAM", "wsss": "WSSS", "maps": "WSSS", "mrcnn": "ROI_HEADS"}
NODES |= {"mrcnn_truth": "ROI_HEADS", "cam_maps": "PAM", "components": "PAM"}

COUNTED = {  # key: the kinds of stages that it counts for
    "MODEL.DEVICE": [],
    "DATALOADER.NUM_WORKERS": [],
    "TEST.EVAL_PERIOD": [],
    "TEST.LABEL_PROGRESS.DATASET": [],
    "TEST.LABEL_PROGRESS.IMAGES": [],
    "SOLVER.CHECKPOINT_PERIOD": [],
    "OUTPUT_DIR": [],
    "VIS_PERIOD": [],
    "VERSION": [],
    "MODEL.WEIGHTS": [],  # by content
    "DATASETS.CUSTOM": [],
    "DATASETS.TRAIN": [],
    "DATASETS.SUBSET": [],  # by what is read
    "SOLVER.BASE_LR": TRAININGS,
    "SOLVER.AMP.ENABLED": TRAININGS,
    "SEED": TRAININGS,
    "DATALOADER.SAMPLER_TRAIN": TRAININGS,
    "TEST.PRECISE_BN.ENABLED": [*TRAININGS, "components", "evaluate"],
    "INPUT.MIN_SIZE_TRAIN": TRAININGS,
    "MODEL.RPN.PRE_NMS_TOPK_TRAIN": TRAININGS,
    "INPUT.BESTIE.CROP_SIZE": TRAININGS,
    "INPUT.FORMAT": TRAININGS + USES,
    "MODEL.BACKBONE.NAME": TRAININGS + USES,
    "INPUT.MIN_SIZE_TEST": USES,
    "INPUT.MAX_SIZE_TEST": USES,
    "INPUT.TEST_SIDE": USES,
    "MODEL.ROI_HEADS.SCORE_THRESH_TEST": USES,
    "MODEL.RPN.PRE_NMS_TOPK_TEST": USES,
    "MODEL.PAM.ALPHA": ["pam", "cues", "cam_maps", "components"],
    "MODEL.PAM.CUES.KERNEL": ["cues", "cam_maps", "components"],
    "MODEL.PAM.TEST.FLIP": ["cues", "cam_maps", "components"],
    "MODEL.WSSS.DROPOUT": ["wsss"],
    "MODEL.WSSS.TEST.SCALES": ["maps"],
    "MODEL.WSSS.PAMR.ITERATIONS": ["wsss", "maps"],
    "MODEL.BESTIE.SIGMA": ["bestie"],
    "MODEL.BESTIE.SPLIT_WEIGHT": ["bestie"],
    "MODEL.ROI_HEADS.NAME": TRAININGS + USES,
    "MODEL.BESTIE.CLUSTERING.AREA": ["bestie", "export", "evaluate"],
    "MODEL.BESTIE.TEST.KERNEL": ["export", "evaluate"],
    "DATASETS.CUE_THRESHOLD": ["bestie", "components", "export"],
    "MODEL.BESTIE.TEST.USE_POINTS": ["export", "evaluate"],
    "TEST.DETECTIONS_PER_IMAGE": ["components", "export", "evaluate"],
    "TEST.MAX_DETECTIONS_PER_IMAGE": ["components", "evaluate"],
}


@pytest.mark.parametrize("key", COUNTED)
def test_which_stages_a_key_counts_for(key):
    assert set(PARTS) == set(KINDS)
    found = [kind for kind in KINDS if counts(kind, key, NODES.get(kind, "BESTIE"))]
    assert sorted(found) == sorted(COUNTED[key])


CONFIG = {"SOLVER.BASE_LR": 0.02, "MODEL.DEVICE": "cpu", "SEED": 1}
DATA = {"cues": "abc", "weak maps": "none"}
NOW = Sources(CONFIG, DATA, {"pam": "12"}, counted={"SOLVER.BASE_LR": None, "SEED": 1})


def told(**before: object) -> list[str]:
    found = {"config": CONFIG, "data": DATA, "inputs": {"pam": "12"}, "finished": True, **before}
    return list(NOW.changes(Found(**found)))


def test_nothing_changed():
    assert told() == []
    assert told(config={**CONFIG, "MODEL.DEVICE": "cuda"}) == []


def test_a_key_that_the_record_lacks_was_at_its_default():
    assert told(config={"SOLVER.BASE_LR": 0.02}) == []
    assert told(config={"SEED": 1}) == ["SOLVER.BASE_LR was null, is 0.02"]
    assert told(config={**CONFIG, "SOLVER.GONE": 3}) == []


def test_what_changed_is_told_with_both_values():
    assert told(config={**CONFIG, "SOLVER.BASE_LR": 0.1}) == ["SOLVER.BASE_LR was 0.1, is 0.02"]
    assert told(data={"cues": "xyz"}) == ["cues was xyz, is abc"]
    assert told(inputs={"pam": "13"}) == ["product of pam was 13, is 12"]
    assert told(inputs={"pam": "12", "export": "7"}) == ["product of export was 7, is not read"]
    assert told(inputs={}) == ["product of pam was not read, is 12"]


def test_a_product_that_is_not_made_yet_changes_what_is_read():
    found = Found(CONFIG, DATA, {"pam": "12"}, finished=True)
    assert Sources(CONFIG, DATA, {"pam": NOT_MADE}).changes(found) == {}
    assert Sources(CONFIG, DATA, {"pam": NOT_MADE, "new": NOT_MADE}).changes(found) == {
        "product of new was not read, is not made yet": "new"
    }


def test_a_record_of_an_older_version_is_compared_as_far_as_it_goes():
    assert told(config=None, data=None) == []
    assert told(config=None, data=None, inputs={"pam": "13"}) == ["product of pam was 13, is 12"]
    found = Found(None, None, {}, finished=True)
    assert found.not_compared == "written by an older version, configuration and data not compared"


def test_only_the_first_changes_are_printed(capsys):
    tell("pam", Decision(CHANGED, "is out of date", details=[f"K{number}" for number in range(11)]))
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    assert lines == ["pam       changed is out of date", *(f"K{n}" for n in range(8)), "and 3 more"]


def test_a_model_that_was_not_there_is_no_change_of_keys():
    now = Sources({"a.K": 1, "b.K": 1}, {}, {"a": "x", "b": "y"}, counted={"a.K": 1, "b.K": 1})
    assert list(now.changes(Found({"a.K": 2}, {}, {"a": "x"}, finished=True))) == [
        "a.K was 2, is 1",
        "product of b was not read, is y",
    ]


@pytest.fixture
def states(tmp_path):
    """The state of the data of images in a folder; ``others`` go into the records."""

    def call(folder: str, content: bytes = b"image", **others: object) -> dict[str, str]:
        path = tmp_path / folder / "sub" / "1.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        name = f"states_{len(names)}"
        names.append(name)
        record = {"file_name": str(path), "image_id": 1, "height": 3, "width": 4, **others}
        DatasetCatalog.register(name, lambda: [record])
        MetadataCatalog.get(name).set(image_root=str(tmp_path / folder), thing_classes=["cat"])
        return Hashes(name, name).of_data([TAGS, IMAGES], CFG)

    names: list[str] = []
    yield call
    for name in names:
        DatasetCatalog.remove(name)
        MetadataCatalog.remove(name)


class _Node:
    CUES = WEAK_MAPS = INSTANCE_LABELS = WEIGHTS = ""
    SUBSET = ()


class CFG:
    DATASETS = MODEL = _Node


def test_data_that_was_moved_is_the_same(states):
    before = states("here", image_classes=[0])
    assert before[TAGS].startswith("1 images, ")
    assert states("there", image_classes=[0]) == before
    assert states("there", image_classes=[0], label_name="sub/1", annotations=[1]) == before


def test_data_that_differs(states):
    before = states("here", image_classes=[0])
    assert states("here", image_classes=[1])[TAGS] != before[TAGS]
    assert states("here", image_classes=[0], height=5)[TAGS] != before[TAGS]
    longer = states("here", b"longer image", image_classes=[0])
    assert (longer[TAGS] == before[TAGS], longer[IMAGES] == before[IMAGES]) == (True, False)


def test_a_weak_map_that_was_edited_differs_though_its_size_is_the_same(tmp_path):
    (tmp_path / "1.png").write_bytes(b"class 1")
    node = type("Node", (_Node,), {"WEAK_MAPS": str(tmp_path)})
    cfg = type("Cfg", (), {"DATASETS": node})
    before = Hashes("", "").of_data([WEAK_MAPS], cfg)
    (tmp_path / ".DS_Store").touch()
    (tmp_path / "Thumbs.db").touch()
    (tmp_path / ".ipynb_checkpoints").mkdir()
    (tmp_path / ".ipynb_checkpoints" / "1-checkpoint.png").touch()
    assert Hashes("", "").of_data([WEAK_MAPS], cfg) == before
    (tmp_path / "1.png").write_bytes(b"class 2")
    assert Hashes("", "").of_data([WEAK_MAPS], cfg) != before


def test_a_product_that_is_read_for_the_first_time_is_a_change_before_it_is_made():
    now = Sources({}, {}, {"bestie": "a", "mrcnn": NOT_MADE, "bestie_round1": NOT_MADE})
    found = Found({}, {}, {"bestie": "a", "mrcnn": "b"}, True)
    assert list(now.changes(found)) == ["product of bestie_round1 was not read, is not made yet"]


def test_states_are_written_as_in_manifests_that_exist(tmp_path, states):
    """A change of how they are hashed would put every finished stage out of date."""
    (tmp_path / "maps" / "sub").mkdir(parents=True)
    for name, content in (("1.png", b"class 1"), ("sub/2.png", b"class 2"), (".hidden", b"")):
        (tmp_path / "maps" / name).write_bytes(content)
    (tmp_path / "weights.pth").write_bytes(b"weights")
    named = type(
        "Node", (_Node,), {"WEAK_MAPS": f"{tmp_path}/maps", "WEIGHTS": f"{tmp_path}/weights.pth"}
    )
    cfg = type("Cfg", (), {"DATASETS": named, "MODEL": named})
    assert Hashes("", "").of_data([WEAK_MAPS, WEIGHTS], cfg) == {
        "weak maps": "2 files, a4c122ad74fdeeed",
        "initial weights": "9a129038d9a00aed",
    }
    assert states("here", image_classes=[0]) == {
        "training set's list": "1 images, 41a5ec0bbaf473de",
        "training set's image files": "1 files, 88b0c2b9f07959e5",
    }
    assert Hashes("", "").of_product(str(tmp_path / "maps")) == (
        "33cee697f1f84b0f3ef5369af2111507921dd5728b4e85b85980a87f84272996"
    )


def test_data_and_products_are_looked_at_once_until_a_stage_was_run(tmp_path, states):
    states("here")  # registers the set
    hashes, product = Hashes("states_0", "states_0"), tmp_path / "product"
    other, image = tmp_path / "other", tmp_path / "here" / "sub" / "1.png"
    looked = []
    for content in (b"first", b"second"):
        for path in (product, other, image):
            path.write_bytes(content)
        images = hashes.of_data([IMAGES], CFG)[IMAGES]
        looked.append((hashes.of_product(str(product)), hashes.of_product(str(other)), images))
    assert looked[0] == looked[1]
    hashes.forget(str(product))
    now = (hashes.of_product(str(product)), hashes.of_product(str(other)))
    assert (now[0] != looked[0][0], now[1] == looked[0][1]) == (True, True)
    assert hashes.of_data([IMAGES], CFG)[IMAGES] != looked[0][2]
