"""Every command in the docs: its tool, options, configurations, keys and stages are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from command_lines import NUMBER, Wrong, check_command, check_span, lines_of, words_of
from documents import (
    DOCUMENTS,
    MARKED,
    NOTEBOOKS,
    OTHER_NAMES,
    ROOT,
    all_blocks,
    blocks_of,
    code_cells,
    spans_of,
)

from bestie_d2.data.paths import ROOT_VARIABLE
from bestie_d2.engine.configuration import load_config
from bestie_d2.pipeline.table import read_table


@pytest.fixture(scope="module", autouse=True)
def _where_a_reader_is(tmp_path_factory) -> Iterator[None]:
    """In one folder for all: a data set of a configuration cannot be registered from two."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv(ROOT_VARIABLE, str(tmp_path_factory.mktemp("datasets")))
        yield


def problems_of(text: str, where: object) -> list[str]:
    found, variables = [], {}
    for line in lines_of(text):
        try:
            if words := words_of(line, variables, optional=True):
                check_command(words)
        except Wrong as problem:
            found.append(f"{where}: {line}: {problem}")
    return found


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_every_block_says_how_it_is_tested(document):
    wrong = []
    for block in blocks_of(document):
        if block.language in OTHER_NAMES:
            wrong.append(f"{block}: {block.language} goes as {' or '.join(MARKED)} here")
        if block.language in MARKED and block.mark is None:
            wrong.append(f"{block}: no mark on the line above (tests/docs/documents.py)")
        why = block.mark["why"] if block.mark else None
        named = [word.strip("(),;") for word in (why or "").split() if "tests/" in word]
        wrong += [f"{block}: no {name}" for name in named if not (ROOT / name).exists()]
    assert wrong == []


@pytest.mark.parametrize("block", all_blocks("bash"), ids=str)
def test_every_command_of_a_block_can_be_given(block):
    assert problems_of(block.text, block) == []


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_every_block_of_python_is_python(block):
    compile(block.text, str(block), "exec")


@pytest.fixture
def beside_the_configurations(tmp_path) -> Path:
    """A folder like ``configs/``, in which a reader may put files of their own."""
    folder = tmp_path / "configs"
    (folder / "tables").mkdir(parents=True)
    for path in (ROOT / "configs").iterdir():
        if path.name != "tables":
            (folder / path.name).symlink_to(path)
    return folder


@pytest.mark.parametrize("block", all_blocks("yaml"), ids=str)
def test_every_block_of_yaml_is_a_configuration_or_a_table(
    block, beside_the_configurations, forget_data_sets
):
    if "rows" in yaml.safe_load(block.text):
        file = beside_the_configurations / "tables" / "mine.yaml"
        file.write_text(block.text)
        read_table(str(file))
    else:
        file = beside_the_configurations / "mine.yaml"
        file.write_text(block.text)
        load_config(str(file))


@pytest.mark.parametrize("notebook", NOTEBOOKS, ids=str)
def test_every_command_of_a_notebook_can_be_given(notebook):
    text = "\n".join(cell[1:] for cell in code_cells(notebook) if cell.startswith("!"))
    text = re.sub(r"\{\w+\}", NUMBER, text)  # a number of the notebook's
    assert problems_of(text, notebook) == []


@pytest.mark.parametrize("document", DOCUMENTS, ids=str)
def test_commands_in_running_text_name_what_is_there(document):
    wrong = []
    for span in spans_of(document):
        try:
            check_span(span)
        except Wrong as problem:
            wrong.append(f"{document}: {span}: {problem}")
    assert wrong == []


@pytest.mark.parametrize(
    ("command", "problem"),
    [
        ("python tools/trian_net.py", "no script tools/trian_net.py"),
        ("bestie trian", "bestie has no command trian"),
        ("tran_net", "unknown: tran_net"),
        ("make tset", "unknown: tset"),
        ('pip install "bestie_d2[wieghts]"', "unknown: wieghts"),
        ("bestie predict --run a --input b", "the following arguments are required: --output"),
        ("bestie predict --run a --input b --output c --form d", "no option --form"),
        ("bestie train --config-file configs/bestie_vco.yaml", "no such file"),
        ("bestie train --config-file configs/bestie_voc.yaml SOLVER.MAX_ITR 2", "SOLVER.MAX_ITER?"),
        ("bestie train --config-file configs/bestie_voc.yaml SOLVER.MAX_ITER two", "whole number"),
        ("bestie extract-cues --config-file FILE --alpha 0.3 A.B 2 --output c", "A.B: no such key"),
        ("bestie run-pipeline --config configs/pipelines/voc.yaml pma.SEED 1", "'pma' is no stage"),
        ("bestie run-pipeline --config configs/pipelines/voc.yaml pam.SED 1", "SED: no such key"),
        ("bestie run-pipeline --config configs/pipelines/voc.yaml --until mpas", "is no stage"),
    ],
)
def test_what_is_wrong_is_found(command, problem):
    (found,) = problems_of(command, "here")
    assert problem in found


def test_what_may_be_left_out_is_read_and_not_run():
    line = "python a.py --from FILE [--jobs N] \"['cat']\" [--as points|tags]  # and so on"
    assert words_of(line, {}, optional=False) == ["python", "a.py", "--from", "FILE", "['cat']"]
    whole = words_of(line, {}, optional=True)
    assert whole[4:] == ["--jobs", "N", "['cat']", "--as", "points|tags"]


def test_variables_are_put_in():
    variables: dict[str, str] = {}
    assert words_of("SIX=\"['a']\"", variables, optional=True) == []
    assert words_of('python a.py "$SIX" $HOME', variables, optional=True)[2:] == ["['a']", "$HOME"]


def test_a_span_may_leave_options_out_but_has_no_others():
    check_span("extract_cues.py --alpha 0.3 0.5")
    check_span("bestie COMMAND")
    check_span("config.py")
    with pytest.raises(Wrong, match=r"extract_cues\.py has no option --alphas"):
        check_span("extract_cues.py --alphas 0.3")
    with pytest.raises(Wrong, match=r"no script tools/nothing\.py"):
        check_span("tools/nothing.py --alpha 0.3")


def test_blocks_and_their_marks(tmp_path):
    lines = ["<!-- run: tiny -->", "```bash", "ls", "```", "", "```python", "1", "```"]
    lines += ["- in a list", "", "  <!-- not run: takes a day -->", "  ```bash", "  ls", "  ```"]
    path = tmp_path / "a.md"
    path.write_text("\n".join(lines))
    first, second, third = blocks_of(path)
    assert (first.line, first.text, first.is_run) == (2, "ls", True)
    assert (second.language, second.mark) == ("python", None)
    assert (third.text, third.mark["why"], third.is_run) == ("  ls", "takes a day", False)
    path.write_text("```bash\nls")
    with pytest.raises(AssertionError, match="line 1 has no end"):
        list(blocks_of(Path(path)))
