"""Files of weights that hold a program: named, not run."""

from __future__ import annotations

import functools
import os
import pickle
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from detectron2.utils.file_io import PathManager
from iopath.common.file_io import PathHandler
from torch import nn

from bestie_d2.errors import InputError
from bestie_d2.weights.checkpoint import BestieCheckpointer, load_released_bestie, load_released_pam
from bestie_d2.weights.reading import read_weights

SYSTEM = f"{os.system.__module__}.system"


class Call:
    """Pickles as a call of a function with arguments; may itself be the function of another."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments

    def __call__(self):
        raise AssertionError("only pickled")


def runstring(mark: Path) -> bytes:
    """A function of NumPy's that runs a text; written by hand, since it may be anywhere."""
    text = f"open({str(mark)!r}, 'w')"
    return f"cnumpy.testing._private.utils\nrunstring\n(V{text}\n(dtR.".encode()


PROGRAMS = {
    SYSTEM: lambda mark: pickle.dumps({"model": Call(os.system, f"touch {mark}")}),
    "builtins.eval": lambda mark: pickle.dumps(Call(eval, f"open({str(mark)!r}, 'w')")),
    "__builtin__.exec": lambda mark: pickle.dumps(Call(exec, f"open({str(mark)!r}, 'w')"), 2),
    "builtins.getattr": lambda mark: pickle.dumps(Call(Call(getattr, mark, "touch"))),
    "functools.partial": lambda mark: pickle.dumps(
        Call(functools.partial(os.system, f"touch {mark}"))
    ),
    "numpy.testing._private.utils.runstring": runstring,
}


@pytest.mark.parametrize("suffix", ["pkl", "pth", "pyth", "torch", "npz"])
@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_named_and_not_run(name, suffix, tmp_path):
    mark = tmp_path / "it_ran"
    program = PROGRAMS[name](mark)
    pickle.loads(program)
    assert mark.exists()
    mark.unlink()

    path = tmp_path / f"evil.{suffix}"
    path.write_bytes(program)
    with pytest.raises(InputError) as refusal:
        BestieCheckpointer(nn.Module()).load(str(path))
    assert not mark.exists()
    assert str(refusal.value).startswith(
        f"checkpoint {path}: holds {name}, which is no weights: not loaded"
    )


class Zoo(PathHandler):
    def __init__(self, folder):
        self.folder = folder

    def _get_supported_prefixes(self):
        return ["somezoo://"]

    def _get_local_path(self, path, force=False, **kwargs):
        return str(self.folder / path.removeprefix("somezoo://"))


def test_every_way_to_weights_is_guarded(tmp_path):
    mark = tmp_path / "it_ran"
    program = PROGRAMS[SYSTEM](mark)
    (tmp_path / "evil.pkl").write_bytes(program)
    (tmp_path / "last_checkpoint").write_text("evil.pkl")
    PathManager.register_handler(Zoo(tmp_path), allow_override=True)
    path, model = str(tmp_path / "evil.pkl"), nn.Linear(1, 1)
    for load in (
        lambda: load_released_bestie(model, path),
        lambda: load_released_pam(model, path),
        lambda: BestieCheckpointer(model).load("somezoo://evil.pkl"),
        lambda: BestieCheckpointer(model, str(tmp_path)).resume_or_load("", resume=True),
    ):
        with pytest.raises(InputError, match=rf"evil\.pkl: holds {SYSTEM}, which is no weights"):
            load()
    assert not mark.exists()


FUNCTION = b"cnumpy.core.multiarray\n_reconstruct\n"
TYPE = b"cnumpy\ndtype\n"
ARRAY = FUNCTION + b"(cnumpy\nndarray\n(I0\ntVb\ntR"


@pytest.mark.parametrize(
    ("program", "name"),
    [
        (
            b"ccopy_reg\n_reconstructor\n(c__builtin__\nobject\nc__builtin__\nobject\nNtR.",
            "copy_reg",
        ),
        (b"c__builtin__\nbytearray\n(L99999999999999L\ntR.", "__builtin__.bytearray"),
        (b"c__builtin__\nset\n}Vadd\nVx\nsb.", None),  # would change a class
        (FUNCTION + b"}V__call__\nVx\nsb.", "a change of a function"),
        (TYPE + b"(VO8\ntR.", "a NumPy array of 'O8'"),
        (TYPE + b"(Vf4,O8\ntR.", "a NumPy array of 'f4,O8'"),
        (ARRAY + b"(I1\n(I1\ntVf4\nI0\nVabcd\ntb.", "an array of str"),
        (ARRAY + b"(I1\n(I9\nt" + TYPE + b"(Vf4\ntRI0\nVabcd\ntb.", None),  # beyond its memory
        (b"c_codecs\nencode\n(Vab\nVzip\ntR.", "the encoding 'zip'"),
        (b"Vx\n\x82\x01.", None),  # a number of a registry
        (b"PX\n.", None),
        (b"(" * 100_000, None),
    ],
)
def test_what_weights_never_hold_is_refused(program, name, tmp_path):
    path = tmp_path / "odd.pkl"
    path.write_bytes(program)
    message = rf"odd\.pkl: holds {name}" if name else r"odd\.pkl: not readable as PyTorch weights"
    with pytest.raises(InputError, match=message):
        read_weights(str(path))


def test_a_tensor_reaches_no_memory_but_its_own(tmp_path):
    path = tmp_path / "long.pkl"
    program = pickle.dumps(torch.arange(4.0), 2)
    assert program.count(b"K\x04\x85") == 1  # its size
    path.write_bytes(program.replace(b"K\x04\x85", b"K\x09\x85"))
    with pytest.raises(InputError, match=r"long\.pkl: not readable .*out of bounds"):
        read_weights(str(path))


def test_plain_values_come_as_they_were(tmp_path):
    content = {
        "float": np.arange(3, dtype="f4"),
        "fortran": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
        "big endian": np.arange(5, dtype=">i4"),
        "long": np.arange(2000.0),
        "truth": np.array([True, False]),
        "text": np.array([b"ab", b"c"]),
        "empty": np.zeros((0, 4), "f2"),
        "scalar": np.float64(1.5),
        "tensor": torch.arange(6.0).reshape(2, 3).t(),
        "parameter": nn.Parameter(torch.ones(2)),
        "half": torch.ones(2, dtype=torch.bfloat16),
        "plain": [(1, 2.5, None, True, 10**30, 1j), {"a"}, frozenset("b"), b"\xff", b"", "ä"],
    }
    path = tmp_path / "plain.pkl"
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        path.write_bytes(pickle.dumps(content, protocol))
        read = read_weights(str(path))
        for key, expected in content.items():
            if isinstance(expected, torch.Tensor):
                assert torch.equal(read[key], expected)
                assert read[key].dtype == expected.dtype
            else:
                np.testing.assert_equal(read[key], expected)
        assert read["scalar"].dtype == np.float64


@pytest.mark.parametrize("zipped", [True, False])
def test_a_name_without_end_takes_no_hours(zipped, tmp_path):
    """PyTorch looks through its message on it in a time that goes with the square of its length."""
    path = tmp_path / "long.pth"
    torch.save(torch.ones(2), path, _use_new_zipfile_serialization=zipped)
    content, name = path.read_bytes(), b"ctorch._utils\n"
    assert content.count(name) == 1
    if zipped:
        with zipfile.ZipFile(path) as archive:
            members = {entry: archive.read(entry) for entry in archive.namelist()}
        with zipfile.ZipFile(path, "w") as archive:
            for entry, member in members.items():
                archive.writestr(entry, member.replace(name, b"c" + b"x" * 500_000 + b"\n"))
    else:
        path.write_bytes(content.replace(name, b"c" + b"x" * 500_000 + b"\n"))
    start = time.process_time()
    with pytest.raises(InputError, match=r"long\.pth: holds x{100}, which is no weights"):
        read_weights(str(path))
    assert time.process_time() - start < 5
