"""The set-up: Detectron2's pure-Python build, its warnings, the environment behind `make`."""

import importlib.util
import os
import re
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

from bestie_d2 import detectron2_seam
from bestie_d2.start_up import KNOWN_WARNINGS, filter_known_warnings

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "third_party" / "detectron2"


def load(file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(file.stem, file)
    module = importlib.util.module_from_spec(spec)
    sys.modules[file.stem] = module  # a dataclass looks itself up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def patches() -> ModuleType:
    return load(BUILD / "source_patches.py")


@pytest.fixture(scope="module")
def backend(patches) -> ModuleType:
    return load(BUILD / "pure_backend.py")


@pytest.fixture(scope="module")
def stub() -> ModuleType:
    return load(BUILD / "stub_C.py")


@pytest.fixture(scope="module")
def setup_env() -> ModuleType:
    return load(ROOT / "tools" / "setup_env.py")


class TestPatches:
    def test_replaces_as_often_as_said(self, patches, tmp_path):
        (tmp_path / "a.py").write_text("x = np.int\ny = np.int32\nz = np.float\n")
        patches.Patch("a.py", r"\bnp\.(int|float)\b", r"\1", count=2).apply(tmp_path)
        assert (tmp_path / "a.py").read_text() == "x = int\ny = np.int32\nz = float\n"

    def test_pattern_that_is_absent_fails_and_leaves_the_file_alone(self, patches, tmp_path):
        (tmp_path / "a.py").write_text("x = 1\n")
        with pytest.raises(patches.PatchError, match=r"a\.py.*occurs 0 times, expected 1"):
            patches.Patch("a.py", "Image.LINEAR", "Image.BILINEAR").apply(tmp_path)
        assert (tmp_path / "a.py").read_text() == "x = 1\n"

    def test_file_that_is_absent_fails(self, patches, tmp_path):
        with pytest.raises(patches.PatchError, match=r"gone\.py: no such file"):
            patches.Patch("gone.py", "a", "b").apply(tmp_path)

    def test_build_ends_with_one_line(self, backend, tmp_path):
        with pytest.raises(SystemExit, match=r"pure-Python build\): patch does not fit: .*"):
            backend.patch_sources(tmp_path)


class TestBackend:
    def test_source_is_pinned_by_hash(self, backend):
        pins = [line for line in backend.SOURCE.read_text().splitlines() if line[:1] != "#"]
        assert len(pins) == 1
        assert re.fullmatch(r"pb1-detectron2==0\.6 --hash=sha256:[0-9a-f]{64}", pins[0])

    def test_metadata(self, backend, tmp_path):
        folder = tmp_path / backend.prepare_metadata_for_build_wheel(str(tmp_path))
        assert folder.name == "detectron2-0.6+pure.dist-info"
        metadata = (folder / "METADATA").read_text().splitlines()
        assert "Name: detectron2" in metadata
        assert "Version: 0.6+pure" in metadata
        required = [line.split(": ")[1] for line in metadata if line.startswith("Requires-Dist")]
        assert {"yacs>=0.1.8", "iopath>=0.1.9"} <= set(required)
        assert not any(re.search("black|future|<|==", requirement) for requirement in required)
        assert "Root-Is-Purelib: true" in (folder / "WHEEL").read_text().splitlines()

    def test_wheel_holds_package_projects_configs_and_stub(self, backend, tmp_path):
        root = tmp_path / "source"
        for name in (
            "LICENSE",
            "detectron2/__init__.py",
            "detectron2/model_zoo/configs/Base.yaml",
            "detectron2/junk.so",
            "projects/DeepLab/deeplab/config.py",
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(name)
        backend.write_wheel(root, tmp_path / backend.WHEEL_NAME)
        with zipfile.ZipFile(tmp_path / backend.WHEEL_NAME) as wheel:
            names = wheel.namelist()
            record = wheel.read("detectron2-0.6+pure.dist-info/RECORD").decode().splitlines()
        assert {
            "detectron2/_C.py",
            "detectron2/model_zoo/configs/Base.yaml",
            "detectron2/projects/deeplab/config.py",
        } <= set(names)
        assert "detectron2/junk.so" not in names
        assert [line.split(",")[0] for line in record] == names

    @pytest.mark.parametrize(
        ("output", "line"),
        [
            ("ERROR: THESE PACKAGES DO NOT MATCH THE HASHES FROM THE FILE", "not the pinned file"),
            ("ERROR: No matching distribution found for pb1-detectron2==0.6", "offline, or"),
            ("/usr/bin/python: No module named pip", "needs pip in this interpreter"),
            ("first\nERROR: disk full\n", "ERROR: disk full"),
            ("", "no output"),
        ],
    )
    def test_failed_download_is_explained_in_one_line(self, backend, output, line):
        explanation = backend.explain_failed_download(output)
        assert line in explanation
        assert "\n" not in explanation

    def test_offline_build_ends_with_one_line(self, backend, tmp_path, monkeypatch):
        monkeypatch.setenv("PIP_NO_INDEX", "1")
        monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
        monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
        with pytest.raises(SystemExit, match=r"cannot fetch pb1-detectron2 0\.6: offline"):
            backend.fetch_source(tmp_path)


class TestStub:
    @pytest.mark.parametrize("name", ["deform_conv_forward", "nms_rotated", "box_iou_rotated"])
    def test_missing_operator_is_named(self, stub, name):
        with pytest.raises(NotImplementedError, match=f"pure-Python build.*'{name}'.*https://"):
            getattr(stub, name)

    def test_fast_coco_evaluation_has_a_way_out(self, stub):
        with pytest.raises(stub.CompiledOperatorMissing, match="use_fast_impl=False"):
            _ = stub.COCOevalEvaluateImages

    def test_behaves_as_a_module(self, stub):
        assert not hasattr(stub, "__wrapped__")
        assert stub.PURE_PYTHON
        assert "stub" in stub.get_compiler_version()


def missing_operator() -> type[Exception]:
    """What a call raises: our build's words, or torch's where there are sources only."""
    is_pure_build = importlib.util.find_spec("detectron2._C") is not None
    return NotImplementedError if is_pure_build else AttributeError


class TestInstalledDetectron2:
    """Without compiled operators: the pure build, or sources that are laid beside."""

    @pytest.fixture(autouse=True)
    def _pure_only(self):
        if detectron2_seam.has_compiled_operators():
            pytest.skip("a compiled Detectron2 is installed")

    def test_rotated_boxes_say_what_is_missing(self):
        import torch
        from detectron2.structures import RotatedBoxes, pairwise_iou_rotated

        with pytest.raises(missing_operator(), match="box_iou_rotated"):
            pairwise_iou_rotated(*2 * [RotatedBoxes(torch.zeros(1, 5))])

    def test_rotated_nms_says_what_is_missing(self):
        import torch
        from detectron2.layers import nms_rotated

        with pytest.raises(missing_operator(), match="nms_rotated"):
            nms_rotated(torch.zeros(1, 5), torch.zeros(1), 0.5)

    def test_model_zoo_and_projects_are_there(self):
        from detectron2 import model_zoo
        from detectron2.projects.deeplab import add_deeplab_config

        name = "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml"
        cfg = model_zoo.get_config(name)
        add_deeplab_config(cfg)
        assert cfg.MODEL.MASK_ON


def test_known_warnings_are_silenced_and_others_are_not():
    def warn(message, category, module):
        warnings.warn_explicit(message, category, "file.py", 1, module=module, registry={})

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        filter_known_warnings()
        for category, message, module in KNOWN_WARNINGS:
            warn(f"{message} ...", category, module)
        assert seen == []
        category, message, module = KNOWN_WARNINGS[0]
        warn(f"{message} ...", category, "bestie_d2.ops")
        warn("something new", FutureWarning, module)
    assert len(seen) == 2


class TestMetadata:
    def test_python_bounds_agree(self):
        setup = (ROOT / "setup.py").read_text()
        assert 'python_requires=">=3.10,<3.13"' in setup
        assert "(3, 10) <= sys.version_info[:2] < (3, 13)" in (ROOT / "Makefile").read_text()
        assert 'target-version = "py310"' in (ROOT / "pyproject.toml").read_text()

    def test_every_requirement_has_a_tested_version(self):
        lists = re.findall(r"\[((?:\s*\"[\w.>=-]+\",?)+\s*)\]", (ROOT / "setup.py").read_text())
        required = {
            re.match(r"[\w-]+", name)[0] for part in lists for name in re.findall(r'"(.*?)"', part)
        }
        assert {"torch", "timm", "pytest"} <= required
        constraints = (ROOT / "constraints.txt").read_text()
        tested = set(re.findall(r"^([\w-]+)==", constraints, flags=re.MULTILINE))
        assert required == tested

    def test_ci_runs_make_test(self, tmp_path):
        make = tmp_path / "make"
        make.write_text('#!/bin/sh\necho "make $@ in $(pwd)"\nexit 7\n')
        make.chmod(0o755)
        result = subprocess.run(
            [str(ROOT / ".ci" / "run")],
            env={"PATH": f"{tmp_path}:/usr/bin:/bin"},
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert result.stdout.strip() == f"make test in {ROOT}"
        assert result.returncode == 7


class TestEnvironment:
    def test_is_complete_only_when_noted(self, setup_env, tmp_path):
        environment = setup_env.Environment(tmp_path / "env")
        environment.start_afresh()
        (tmp_path / "env" / "bin").mkdir()
        environment.python.touch()
        assert not environment.matches(digest="a")
        environment.note(digest="a", origin="p")
        assert environment.matches(digest="a")
        assert environment.matches(digest="a", origin="p")
        assert not environment.matches(digest="b")
        assert not environment.matches(digest="a", origin="q")

    def test_half_finished_is_emptied(self, setup_env, tmp_path):
        environment = setup_env.Environment(tmp_path / "env")
        environment.start_afresh()
        (tmp_path / "env" / "lib" / "torch").mkdir(parents=True)
        environment.start_afresh()
        assert [file.name for file in environment.folder.iterdir()] == [setup_env.STATE_FILE]

    def test_foreign_folder_is_left_alone(self, setup_env, tmp_path):
        (tmp_path / "thesis.tex").touch()
        with pytest.raises(setup_env.SetupError, match="not made by this set-up"):
            setup_env.Environment(tmp_path).start_afresh()
        assert (tmp_path / "thesis.tex").exists()

    def test_failed_step_shows_the_end_of_its_log(self, setup_env, tmp_path, capfd):
        environment = setup_env.Environment(tmp_path)
        with pytest.raises(setup_env.SetupError, match=r"a step: failed, see .*setup\.log"):
            environment.run("a step", sys.executable, "-c", "print('the reason'); exit(3)")
        assert "the reason" in capfd.readouterr().err

    def test_digest_follows_the_inputs(self, setup_env, tmp_path):
        (tmp_path / "setup.py").write_text("1")
        before = setup_env.digest_of_inputs(tmp_path)
        assert setup_env.digest_of_inputs(tmp_path) == before
        (tmp_path / "setup.py").write_text("2")
        assert setup_env.digest_of_inputs(tmp_path) != before

    def test_unsuitable_interpreter_is_refused_in_one_line(self):
        result = subprocess.run(
            ["make", "--no-print-directory", "setup", "PYTHON=/no/such/python"],
            env={"PATH": os.environ["PATH"]},  # without the flags of a make around this test
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        assert result.returncode != 0
        assert result.stderr.startswith("bestie_d2 needs Python 3.10 to 3.12")
