"""The parts of the page: escaping, alignment, inlined pictures."""

from __future__ import annotations

import base64
import re
from io import BytesIO

import numpy as np
from PIL import Image

from bestie_d2.report.page import (
    details,
    figure,
    heading,
    page,
    paragraph,
    picture,
    picture_row,
    table,
)

EVIL = '<script>"&'
SAFE = "&lt;script&gt;&quot;&amp;"


def test_every_text_is_escaped():
    pixels = np.zeros((2, 3, 3), np.uint8)
    parts = [
        paragraph(EVIL),
        heading(EVIL),
        table([EVIL], [[EVIL]]),
        details(EVIL, EVIL),
        figure("", EVIL, EVIL),
        picture_row(EVIL, [picture(pixels, EVIL, EVIL, alternative=EVIL)]),
    ]
    html = page(EVIL, "", {EVIL: parts})
    assert "<script" not in html
    title, section, row = 2, 4, 4  # with the link to the section, and the picture's alt text
    assert html.count(SAFE) == title + section + 1 + 1 + 2 + 2 + 2 + row


def test_columns_of_numbers_are_right_aligned():
    html = table(
        ["name", "count", "share", "rate", "mixed", "empty"],
        [["a", 1234, 0.25, "0.0001", 3, None], ["b", None, None, "2", "x", None]],
    )
    heads = re.findall(r'<th scope="col"( class="number")?>(\w+)', html)
    assert heads == [
        ("", "name"),
        *((' class="number"', name) for name in ("count", "share", "rate")),
        ("", "mixed"),
        ("", "empty"),
    ]
    assert re.findall(r"<td[^>]*>([^<]*)", html) == [
        *("1,234", "0.2", "0.0001", "3", "–"),
        *("–", "–", "2", "x", "–"),
    ]
    assert re.findall(r'<th scope="row">(\w)', html) == ["a", "b"]


def test_a_table_without_rows_has_its_head():
    assert "<tbody>\n</tbody>" in table(["name"], [])


def test_pictures_are_inlined():
    pixels = np.full((20, 30, 3), (200, 30, 90), np.uint8)
    html = picture(pixels, "truth", "2 fish", alternative="truth of 1.png: 2 fish")
    data = re.search(r'src="data:image/jpeg;base64,([^"]+)" width="30" height="20"', html).group(1)
    found = np.asarray(Image.open(BytesIO(base64.b64decode(data))))
    assert found.shape == pixels.shape
    assert np.abs(found.astype(int) - pixels).max() < 10
    assert 'alt="truth of 1.png: 2 fish"' in html
    assert "<b>truth</b> 2 fish" in html
