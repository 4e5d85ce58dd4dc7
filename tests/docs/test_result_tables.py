"""The tables of results in the docs are those of the figures that are kept beside them."""

from __future__ import annotations

import pytest
from documents import ROOT

from bestie_d2.pipeline.table import read_table
from bestie_d2.pipeline.table_results import read_results
from bestie_d2.report.results_page import docs_block, readme_block, zoo_block

TABLES = sorted((ROOT / "configs" / "tables").glob("*.yaml"))
PAGES = {"docs/results.md": docs_block, "docs/model_zoo.md": zoo_block, "README.md": readme_block}


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.stem)
@pytest.mark.parametrize("page", PAGES)
def test_a_page_shows_the_figures_that_are_kept(path, page):
    name = read_table(str(path)).name
    figures = read_results(ROOT / "docs" / "results" / f"{name}.json")
    assert figures["rows"]
    _, rest = (ROOT / page).read_text(encoding="utf-8").split(f"<!-- table: {name} -->\n")
    shown, _ = rest.split(f"\n<!-- end of table: {name} -->")
    assert shown == PAGES[page](figures)
