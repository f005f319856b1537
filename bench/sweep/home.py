"""The home folder as MLflow knows it: who it is, and where its artifacts lie."""

import json
import uuid
from pathlib import Path
from urllib.parse import unquote, urlsplit

import sqlalchemy as sa

from bench.sweep.address import PATIENCE, Address

FORMER = "bench"
"""The experiment in which earlier versions kept the runs of all studies."""


def _table(name: str, *columns: str) -> sa.TableClause:
    texts = [sa.column(column, sa.String) for column in columns]
    return sa.table(name, sa.column("experiment_id"), *texts)


EXPERIMENTS = _table("experiments", "name", "artifact_location")
RUNS = _table("runs", "run_uuid", "artifact_uri", "status", "lifecycle_stage")
EXPERIMENT_TAGS = _table("experiment_tags", "key", "value")
TAGS = _table("tags", "run_uuid", "key", "value")


def home_id(home: Path) -> str:
    """Returns what names a home wherever it is moved to; two homes may share a server."""
    file = home / "id"
    if not file.is_file():
        file.write_text(uuid.uuid4().hex, encoding="utf-8")
    return file.read_text(encoding="utf-8")


def artifacts_uri(home: Path) -> str:
    """Returns where MLflow puts the files of this home's runs, unless it has a server for that."""
    return (home / "artifacts").as_uri()


def follow_home(address: Address, home: Path) -> Path | None:
    """Makes MLflow's database look for this home's artifacts where the home is now.

    It keeps absolute paths, so it would go on writing to where the home was. One transaction.
    Returns the home that it was moved from, None if it is where it was.
    """
    file = address.file
    if address.of_a_server or (file is not None and not file.is_file()):
        return None
    engine = sa.create_engine(address.text, poolclass=sa.NullPool)
    if not sa.inspect(engine).has_table("experiment_tags"):
        return None
    with engine.begin() as database:
        old = {
            location: path
            for location in database.scalars(_locations(home, file == home / "mlflow.db"))
            if (path := _folder(location)) and not _same(path, home / "artifacts")
        }
        for location, path in old.items():
            _correct_files(home, path.parent)
            _move(database, location, path.parent, home)
    return next(iter(old.values())).parent if old else None


def trial_runs(address: Address, experiment: str) -> list[tuple[str, str, str]]:
    """Returns id, status and lifecycle stage of an experiment's trial runs, deleted ones too, as
    they stand in a database.

    MLflow's own search also reads all that each run has logged: 17 s for 10,000 runs.
    """
    wait = {"timeout": PATIENCE} if address.file else {}
    engine = sa.create_engine(address.text, poolclass=sa.NullPool, connect_args=wait)
    kind = (TAGS.c.key == "bench.kind") & (TAGS.c.value == "trial")
    query = sa.select(RUNS.c.run_uuid, RUNS.c.status, RUNS.c.lifecycle_stage).where(
        RUNS.c.experiment_id == int(experiment),
        RUNS.c.run_uuid.in_(sa.select(TAGS.c.run_uuid).where(kind)),
    )
    with engine.connect() as database:
        return [(run, status, stage) for run, status, stage in database.execute(query)]


def _locations(home: Path, own: bool) -> sa.Select[str]:
    """Where this home's experiments have artifacts. own: the database is this home's alone."""
    tag = EXPERIMENT_TAGS.c
    mine = sa.select(tag.experiment_id).where(tag.key == "bench.home", tag.value == home_id(home))
    former = EXPERIMENTS.c.name == (FORMER if own else None)
    is_mine = EXPERIMENTS.c.experiment_id.in_(mine) | former
    return sa.select(EXPERIMENTS.c.artifact_location).where(is_mine).distinct()


def _move(database: sa.Connection, location: str, before: Path, home: Path) -> None:
    here = artifacts_uri(home)
    at = EXPERIMENTS.c.artifact_location == location
    moved = sa.select(EXPERIMENTS.c.experiment_id).where(at)
    runs = sa.select(RUNS.c.run_uuid).where(RUNS.c.experiment_id.in_(moved))
    is_weights = (TAGS.c.key == "bench.weights") & TAGS.c.run_uuid.in_(runs)
    _replace(database, TAGS, "value", f"{before}/", f"{home}/", is_weights)
    is_moved = RUNS.c.experiment_id.in_(moved)
    _replace(database, RUNS, "artifact_uri", f"{location}/", f"{here}/", is_moved)
    database.execute(sa.update(EXPERIMENTS).where(at).values(artifact_location=here))


def _replace(
    database: sa.Connection,
    table: sa.TableClause,
    column: str,
    old: str,
    new: str,
    where: sa.ColumnElement[bool],
) -> None:
    """Replaces the beginning of a column's texts."""
    text = table.c[column]
    rest = sa.func.substr(text, len(old) + 1, type_=sa.String)
    at_old = sa.func.substr(text, 1, len(old)) == old
    database.execute(sa.update(table).where(where, at_old).values({column: sa.literal(new) + rest}))


def _correct_files(home: Path, before: Path) -> None:
    """Makes the files that name a trial's weights name them where they are now."""
    for file in (home / "artifacts").glob("*/artifacts/model/config.json"):
        config = json.loads(file.read_text(encoding="utf-8"))
        for stage in config.get("stages", ()):
            if Path(stage.get("path", "")).is_relative_to(before):
                stage["path"] = str(home / Path(stage["path"]).relative_to(before))
        file.write_text(json.dumps(config, indent=2), encoding="utf-8")


def _folder(location: str | None) -> Path | None:
    """Returns the local folder of an artifact location."""
    parts = urlsplit(location or "")
    return Path(unquote(parts.path)) if parts.scheme == "file" else None


def _same(one: Path, other: Path) -> bool:
    """Whether two paths are one folder, by whatever way it is reached."""
    return one == other or (one.exists() and other.exists() and one.samefile(other))
