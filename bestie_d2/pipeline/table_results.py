"""The figures of a table's rows in a small JSON, to be kept with the project: what the stages wrote
down, without anything of the machine's paths."""

from __future__ import annotations

from pathlib import Path

from bestie_d2.errors import InputError
from bestie_d2.pipeline.spent_time import PROCESSOR_SECONDS, SECONDS
from bestie_d2.pipeline.state import StageRecord
from bestie_d2.pipeline.table import Row, Table
from bestie_d2.storage.files import make_folder, read_json, write_json

TRAINED = {"iterations": "SOLVER.MAX_ITER", "images a step": "SOLVER.IMS_PER_BATCH"}
KEPT = ("figures", SECONDS, PROCESSOR_SECONDS, "resumed", "seeds", "threads", "versions", "commit")


def collect(table: Table, earlier: dict) -> dict:
    """What is known of all rows: from their folders, else from an ``earlier`` collection, unless
    the table says something else of the row since."""
    known = {row["name"]: row for row in earlier.get("rows", [])}
    rows = []
    for row in table.rows.values():
        described = describe(table, row)
        before = known.get(row.name, {})
        same = all(before.get(key) == described[key] for key in ("made_by", "shares", "reads"))
        stages = {**(before.get("stages", {}) if same else {}), **_stages_of(table, row)}
        rows.append({**described, "stages": stages})
    return {"name": table.name, "about": table.about, "rows": rows}


def describe(table: Table, row: Row) -> dict:
    """What the table says of a row; ``reads`` has all its stages."""
    pipeline = table.pipeline_of(row)
    overrides = {key: str(value) for key, value in row.overrides.items()}
    made_by = {"pipeline": row.pipeline, "overrides": overrides, "seed": row.seed}
    reads = {stage: pipeline.inputs_of(stage) for stage in pipeline.stages}
    described = {key: getattr(row, key) for key in ("name", "variant", "text")}
    shares = dict.fromkeys(row.shared, row.shares_from)
    described |= {"lines": list(row.lines), "command": table.command_of(row), "shares": shares}
    return {**described, "made_by": made_by, "reads": reads}


def _stages_of(table: Table, row: Row) -> dict[str, dict]:
    """What the finished stages of a row, without those that it shares, wrote down."""
    pipeline, found = table.pipeline_of(row), {}
    for stage in pipeline.stages:
        manifest = StageRecord(pipeline.folder_of(stage)).manifest
        if manifest and stage not in pipeline.shared:
            found[stage] = {key: manifest[key] for key in KEPT if key in manifest}
            if pipeline.kind_of(stage).trains:
                config = manifest["config"]  # an older version's is a hash
                known = config if isinstance(config, dict) else {}
                found[stage] |= {name: known[key] for name, key in TRAINED.items() if key in known}
    return found


def is_finished(row: dict) -> bool:
    """Whether all stages of a collected row are, but for those that it shares."""
    return all(stage in row["stages"] for stage in row["reads"] if stage not in row["shares"])


def read_results(path: Path) -> dict:
    """A collection that was written; empty where there is none."""
    try:
        content = read_json(path)
        if all(isinstance(row["name"], str) for row in content["rows"]):
            return content
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise InputError(f"--results {path}: no file that this tool wrote; move it away")


def write_results(path: Path, results: dict) -> None:
    """Write a collection, whole or not at all."""
    make_folder(path.parent, "--results")
    write_json(path, results)
