"""The tables of results in the docs are those of the figures that are kept beside them."""

from __future__ import annotations

import pytest
from documents import ROOT

from bestie_d2.pipeline.table import read_table
from bestie_d2.pipeline.table_results import read_results
from bestie_d2.report.results_page import PAGES, write_between_marks

TABLES = sorted((ROOT / "configs" / "tables").glob("*.yaml"))


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_figures_that_are_kept(path, page, tmp_path):
    name = read_table(str(path)).name
    figures = read_results(ROOT / "docs" / "results" / f"{name}.json")
    assert figures["rows"]
    copy = tmp_path / "page.md"
    copy.write_bytes((ROOT / page).read_bytes())
    write_between_marks(copy, name, PAGES[page](figures))
    assert copy.read_bytes() == (ROOT / page).read_bytes()
