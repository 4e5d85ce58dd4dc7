"""The house as docs/architecture.md draws it: imports go down its list, and files stay readable."""

from __future__ import annotations

import ast
import re
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "bestie_d2"
FRONT = ("__init__", "functional")  # they export from all rooms
LONGEST_FILE = 400
# What is imported under another name than it is installed by.
INSTALLED_BY = {
    "cv2": "opencv-python-headless",
    "PIL": "Pillow",
    "skimage": "scikit-image",
    "yaml": "PyYAML",
    "jinja2": "Jinja2",
}
STANDARD_LIBRARY = set(sys.stdlib_module_names)
NOT_ON_THE_INDEX = {"detectron2", "pydensecrf"}  # setup.py and one line in the code say more
OPTIONAL = {"onnx", "onnxruntime", "rasterio", "roifile"}  # extras, imported where needed


def rooms() -> list[str]:
    """From the top of the list down; the last row is of single files."""
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(bestie_d2/[^`]+)` \|", text, re.MULTILINE)
    assert rows[-1].startswith("bestie_d2/{")
    return [row.removeprefix("bestie_d2/") for row in rows[:-1]]


def room_of(module: str) -> str:
    return module.split(".")[1] if module.count(".") else ""


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


FILES = {module_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(module: str) -> set[str]:
    """Full names of the modules that one imports, also inside functions; not only for its types."""
    tree = ast.parse(FILES[module].read_text(encoding="utf-8"))
    for_types = {
        id(node)
        for test in ast.walk(tree)
        if isinstance(test, ast.If) and ast.unparse(test.test).endswith("TYPE_CHECKING")
        for node in ast.walk(test)
    }
    found = set()
    for node in ast.walk(tree):
        if id(node) in for_types:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                inside = FILES[module].name == "__init__.py"
                above = module.split(".")[: len(module.split(".")) - node.level + inside]
                base = ".".join([*above, base]) if base else ".".join(above)
            names = {f"{base}.{alias.name}" for alias in node.names}
            modules = names & FILES.keys()
            found |= modules
            if len(modules) < len(names):
                found.add(base)
    return found


IMPORTS = {module: imports_of(module) for module in FILES}
OURS = {module: names & FILES.keys() for module, names in IMPORTS.items()}


def test_every_room_is_on_the_list_and_there():
    assert set(rooms()) == {path.parent.name for path in PACKAGE.glob("*/__init__.py")}


def test_imports_go_down():
    order = {room: height for height, room in enumerate(rooms())}
    up = []
    for module, names in OURS.items():
        if module == "bestie_d2" or module.split(".")[1] in FRONT:
            continue
        here = order.get(room_of(module), len(order))  # the single files stand below all rooms
        for name in names - {"bestie_d2"}:
            there = order.get(room_of(name), len(order))
            if there < here or name.split(".")[1:2] == ["functional"]:
                up.append(f"{module} imports {name}")
            if {room_of(module), room_of(name)} == {"data", "modeling"}:
                up.append(f"{module} imports {name}: neither knows of the other")
    assert up == []


def test_no_module_imports_itself_on_the_way():
    inside = {module: names - {"bestie_d2"} for module, names in OURS.items()}
    try:
        tuple(TopologicalSorter(inside).static_order())
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def test_no_file_is_longer_than_a_reader_bears():
    lines = {name: path.read_text(encoding="utf-8").count("\n") for name, path in FILES.items()}
    assert {name: count for name, count in lines.items() if count > LONGEST_FILE} == {}


def test_only_the_front_door_and_registries_import_for_effect():
    marks = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for folder in ("bestie_d2", "tools", "datasets", "tests", "benchmarks", "examples")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line in path.read_text(encoding="utf-8").splitlines()
        if re.search(r"#\s*(noqa: (F401|E402)|ruff: noqa)", line)
    ]
    assert marks == []


@pytest.mark.parametrize("folder", ["tools", "datasets"])
def test_tools_import_python_and_this_package_alone(folder):
    for path in sorted((ROOT / folder).glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            others = {name.split(".")[0] for name in names} - STANDARD_LIBRARY - {"bestie_d2"}
            assert not others, f"{path.name} imports {others}"


def test_everything_imported_is_declared():
    setup = (ROOT / "setup.py").read_text(encoding="utf-8")
    required = setup[setup.index("install_requires") : setup.index("extras_require")]
    declared = {name.lower() for name in re.findall(r'"([\w.-]+)', required)}
    imported = {name.split(".")[0] for names in IMPORTS.values() for name in names}
    imported -= STANDARD_LIBRARY | NOT_ON_THE_INDEX | OPTIONAL | {"bestie_d2"}
    needed = {INSTALLED_BY.get(name, name).lower() for name in imported}
    assert needed - declared == set()
    extras = setup[setup.index("extras_require") :]
    assert [name for name in OPTIONAL if f'"{name}' not in extras] == []


def test_no_two_files_have_one_name():
    names = [path.name for path in FILES.values() if path.name != "__init__.py"]
    assert sorted(names) == sorted(set(names))


def test_what_the_plan_names_is_there():
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    named = re.findall(r"`([a-z_0-9]+(?:/[a-z_0-9.]+)+/?)`", text)
    assert len(named) > text.count("\n") / 2

    def is_there(name: str) -> bool:
        paths = [room / name for room in (PACKAGE, ROOT)]
        return any(path.exists() or path.with_suffix(".py").exists() for path in paths)

    assert [name for name in named if not is_there(name)] == []
