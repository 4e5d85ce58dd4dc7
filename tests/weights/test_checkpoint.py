from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
import torchvision
from detectron2.modeling import build_model

from bestie_d2.engine.configuration import load_config
from bestie_d2.errors import InputError
from bestie_d2.weights import sources as timm_weights
from bestie_d2.weights.checkpoint import BestieCheckpointer

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


def test_a_kill_while_the_last_checkpoint_is_noted(tmp_path):
    model, other = build(), build()
    for iteration in (4, 9):
        name = f"model_{iteration:07d}"
        BestieCheckpointer(model, str(tmp_path)).save(name, iteration=iteration)
    (tmp_path / "last_checkpoint").write_text("")
    rest = BestieCheckpointer(other, str(tmp_path)).resume_or_load("", resume=True)
    assert rest["iteration"] == 9


def test_weights_of_another_backbone_are_refused(tmp_path):
    path = str(tmp_path / "resnet.pth")
    torch.save(torchvision.models.resnet18(weights=None).state_dict(), path)
    model = build()
    before = model.backbone.body.conv1.weight.clone()
    with pytest.raises(InputError, match=r"leaves \d+ of \d+ tensors of the backbone"):
        BestieCheckpointer(model).load(path)
    assert torch.equal(before, model.backbone.body.conv1.weight)


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
    monkeypatch.setattr(timm_weights, "get_cache_dir", lambda name: str(tmp_path / name))
    return tmp_path / "timm"


def test_timm_weights_are_fetched_once(cache, monkeypatch):
    models = [build(), build()]
    classifier = timm.create_model("hrnet_w18_small", pretrained=False)
    fetched = []

    def create_model(name, pretrained):
        fetched.append((name, pretrained))
        return classifier

    monkeypatch.setattr(timm_weights.timm, "create_model", create_model)
    for model in models:
        BestieCheckpointer(model).load("timm://hrnet_w18_small")
        assert same_backbone(model, classifier.state_dict())
    assert fetched == [("hrnet_w18_small", True)]
    assert [path.name for path in cache.iterdir()] == ["hrnet_w18_small.pth"]


def test_timm_weights_that_cannot_be_fetched_say_what_to_do(cache, monkeypatch):
    def create_model(name, pretrained):
        raise OSError("no route to the hub")

    model = build()
    monkeypatch.setattr(timm_weights.timm, "create_model", create_model)
    with pytest.raises(
        InputError, match=r"timm://hrnet_w18_small: could not be fetched \(no route"
    ):
        BestieCheckpointer(model).load("timm://hrnet_w18_small")
    assert not cache.exists()
