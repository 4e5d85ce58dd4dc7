"""Cue files with mistakes, read by somebody who wants to hear of all of them."""

from __future__ import annotations

from bestie_d2.data import read_cues
from bestie_d2.errors import InputError

SIZES = {"a": (10, 20), "b": (10, 20)}  # height, width


def read_all(path: str) -> tuple[dict[str, list], list[str]]:
    """Points and classes that can be used, by stem, and the problems."""
    problems: list[InputError] = []
    cues = read_cues(path, classes=("cat", "dog"), sizes=SIZES, on_problem=problems.append)
    usable = {
        stem: [
            (y, x, index) for (y, x), index in zip(c.yx.tolist(), c.classes.tolist(), strict=True)
        ]
        for stem, c in cues.items()
    }
    return usable, [str(problem) for problem in problems]


def test_json(tmp_path, write_json):
    points = [
        {"image_id": 1, "category_id": 4, "point": [3, 9]},
        {"image_id": 1, "category_id": 4, "point": [21, 9]},
        {"image_id": 1, "category_id": 4, "point": ["left", 9]},
        {"image_id": 9, "category_id": 4, "point": [3, 9]},
        {"image_id": 2, "category_id": 9, "point": [3, 9]},
        {"image_id": 2, "category_id": 5, "point": [0, 0]},
    ]
    images = [
        {"id": 1, "file_name": "a.png"},
        {"id": 2, "file_name": "b.png", "height": 20, "width": 10},
    ]
    categories = [{"id": 4, "name": "cat"}, {"id": 5, "name": "dog"}]
    content = {"images": images, "categories": categories, "points": points}
    path = write_json(tmp_path / "cues.json", content)
    usable, problems = read_all(path)
    assert usable == {"a": [(9, 3, 0)], "b": [(0, 0, 1)]}
    assert [problem.removeprefix(f"{path}: ")[:34] for problem in problems] == [
        "points[2]: expected finite numbers",
        "points[3]: image id 9 is not in 'i",
        "points[4]: category id 9 is not in",
        "points of b.png lie on 20x10 pixel",
        "image a.png: point (x, y) = (21, 9",
    ]


def test_text(tmp_path):
    (tmp_path / "a.txt").write_text("3 9 0 0.8\n3 9 2\nthree nine\n3 11 1\n5 6 1\n")
    usable, problems = read_all(str(tmp_path))
    assert usable == {"a": [(9, 3, 0), (6, 5, 1)]}
    assert [problem.removeprefix(f"{tmp_path}/") for problem in problems] == [
        "a.txt, line 2: class 2, expected 0..1",
        "a.txt, line 3: expected 'x y class [score]', got 'three nine'",
        "a.txt: point (x, y) = (3, 11) is outside the image of 10x20 pixels (height x width); as "
        "(row, column) it would be inside: are x and y swapped?",
    ]
