"""Both databases on a PostgreSQL server: what holds for the files holds there, and more can go
wrong."""

from collections.abc import Callable
from pathlib import Path

import kit
import optuna
import postgres
import psycopg
import pytest
import sqlalchemy
import test_sampler
import test_sweep
from kit import cells, commands, results, runs, until, write_study
from mlflow import MlflowClient
from test_sweep import SWEPT, assert_whole, sweep, write_four
from test_tracking import STUDY

from bench.errors import BenchError
from bench.records.cell import load_study_file
from bench.records.place import Place
from bench.sweep import address as door
from bench.sweep.address import Address, wait_for_restarts
from bench.sweep.home import follow_home
from bench.sweep.sampler import Sampler
from bench.sweep.tracking import Tracking

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

undisturbed = test_sweep.uninterrupted  # with files

TRACKING, SEARCH = "MLFLOW_TRACKING_URI", "BENCH_OPTUNA_STORAGE"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    return postgres.make_world(tmp_path / "world")


@pytest.fixture
def waiting(world: Path) -> kit.Command:
    """A sweep whose first training stands still until the file named hold is gone."""
    write_four(world, "random")
    (world / "hold").touch()
    driver = commands().start(world, "sweep", "tiny.yaml", "--workers", "1", before=BRIEF)
    until(lambda: "training 8 steps" in driver.err())
    return driver


BRIEF = """
from bench.sweep import address, outage
address.RESTART, address.PATIENCE, outage.PAUSE = 4.0, 3.0, 0.0
"""


def database(world: Path, variable: str) -> str:
    return postgres.database(world / "home", variable)


# --- killed -------------------------------------------------------------------------------------


def test_a_driver_killed_at_every_instant_loses_and_repeats_nothing(world: Path, undisturbed):
    test = test_sweep.test_a_driver_killed_at_every_instant_loses_and_repeats_nothing
    test(world, "random", undisturbed)


def test_two_studies_may_begin_at_once_in_empty_databases_from_two_homes(tmp_path: Path):
    """And have one name: neither gets the other's trials."""
    world = postgres.make_world(tmp_path / "world", ("home", "theirs"), blank=False)
    for home, seed in (("home", 0), ("theirs", 1)):
        write_study(
            world, SWEPT, name="tiny", budget=f"{{trials: 2, sampler: random, seed: {seed}}}"
        )
        (world / "tiny.yaml").rename(world / f"{home}.yaml")
    names = ("home", "theirs")
    both = [
        commands().start(world, "sweep", f"{n}.yaml", "--out", f"out-{n}", home=world / n)
        for n in names
    ]
    for command in both:
        ended = command.wait()
        assert ended.status == 0, ended.err
    mine, theirs = results(world / "home"), results(world / "theirs")
    assert mine.keys() == theirs.keys()
    assert mine["shift-t000-s0"]["swept"] != theirs["shift-t000-s0"]["swept"]
    server, name = postgres.server(), database(world, SEARCH)
    studies = server.ask("select study_name from studies", database=name)
    assert sorted(len(n) for (n,) in studies) == [len("tiny/shift"), len("tiny/shift (123456)")]
    told = server.ask("select count(*) from trials where state = 'COMPLETE'", database=name)
    assert told == [(4,)]
    experiments = server.ask(
        "select distinct e.name, t.value from experiments e join experiment_tags t "
        "on t.experiment_id = e.experiment_id where t.key = 'bench.home'",
        database=database(world, TRACKING),
    )
    assert {home for _, home in experiments} == {(world / n / "id").read_text() for n in names}
    study = load_study_file(Place(world / "theirs", "tiny"))
    with pytest.MonkeyPatch.context() as patch:
        for variable, address in kit.SERVERS[world / "theirs"].items():
            patch.setenv(variable, address)
        found = Sampler(world / "theirs", study, "shift").finished()
        assert found[0] == theirs["shift-t000-s0"]["swept"]
        assert len(Tracking(world / "theirs", study).runs({})) == 3


# --- the server goes away -----------------------------------------------------------------------


def test_cut_connections_and_a_restart_stop_nothing(world: Path, waiting: kit.Command, undisturbed):
    server = postgres.server()
    assert server.cut(database(world, SEARCH)) > 0 and server.cut(database(world, TRACKING)) > 0
    server.stop()
    (world / "hold").unlink()
    until(lambda: "[2/5]" in waiting.err() or "MLflow does not answer" in waiting.err())
    server.start()
    ended = waiting.wait()
    assert ended.status == 0, ended.err
    assert "Traceback" not in ended.err and postgres.PASSWORD not in ended.err
    assert_whole(world, undisturbed("random"))


def test_a_server_that_stays_away_stops_the_sweep_with_a_message_and_it_goes_on_later(
    world: Path, waiting: kit.Command, undisturbed
):
    server = postgres.server()
    server.stop()
    try:
        (world / "hold").unlink()
        ended = waiting.wait()
        refused = sweep(world)
    finally:
        server.start()
    assert ended.status == 2
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert last.startswith("Error: tiny: Optuna's postgresql+psycopg://***@/")
    assert last.endswith("Nothing is lost: mend that and run the same command again.")
    assert refused.status == 2 and "does not answer: " in refused.err
    assert len(refused.err.splitlines()) == 1
    assert postgres.PASSWORD not in ended.err + refused.err
    done = sweep(world)
    assert done.status == 0, done.err
    assert_whole(world, undisturbed("random"))


CUT = """
import os, psycopg
def cut():
    address = os.environ[{variable!r}].replace("+psycopg", "")
    with psycopg.connect(address, autocommit=True) as connection:
        connection.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and pid <> pg_backend_pid()"
        )
"""
IN_A_TRANSACTION = {
    TRACKING: """
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as Store
log, count = Store._log_metrics, []
def logging(*a, **k):
    count.append(1)
    if len(count) == 2:
        cut()
    return log(*a, **k)
Store._log_metrics = logging
""",
    SEARCH: """
from optuna.storages._rdb.storage import RDBStorage as Store
tell, count = Store._set_trial_value_without_commit, []
def telling(*a, **k):
    count.append(1)
    if len(count) == 2:
        cut()
    return tell(*a, **k)
Store._set_trial_value_without_commit = telling
""",
}


@pytest.mark.parametrize("variable", IN_A_TRANSACTION)
def test_a_connection_cut_in_the_middle_of_a_transaction(world: Path, variable: str, undisturbed):
    write_four(world, "random")
    before = BRIEF + CUT.format(variable=variable) + IN_A_TRANSACTION[variable]
    ended = sweep(world, before=before)
    assert "Traceback" not in ended.err and postgres.PASSWORD not in ended.err
    if variable == TRACKING:  # goes on, and makes up for it
        assert "MLflow does not answer (" in ended.err
        assert ended.status == 0, ended.err
    else:
        assert ended.status == 2
        assert ended.err.splitlines()[-1].endswith("mend that and run the same command again.")
        assert sweep(world).status == 0
    assert_whole(world, undisturbed("random"))


def test_a_table_that_somebody_locks_is_waited_for_a_while(
    world: Path, waiting: kit.Command, undisturbed
):
    place = f"host={postgres.server().folder} user=me dbname={database(world, SEARCH)}"
    with psycopg.connect(place) as other:
        other.execute("lock table trials in access exclusive mode")
        (world / "hold").unlink()
        ended = waiting.wait()
    assert ended.status == 2
    assert "canceling statement due to lock timeout. Nothing is lost" in ended.err.splitlines()[-1]
    assert sweep(world).status == 0
    assert_whole(world, undisturbed("random"))


def test_new_connections_wait_once_for_a_server_to_come_back(monkeypatch: pytest.MonkeyPatch):
    class Gone(Exception):
        pass

    class Dialect:
        class loaded_dbapi:
            OperationalError = Gone

        def connect(self) -> str:
            tried.append(clock[0])
            if clock[0] < back:
                raise Gone
            return "connection"

    tried: list[float] = []
    clock, back = [0.0], 10.0
    monkeypatch.setattr(door.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(door.time, "sleep", lambda s: clock.__setitem__(0, clock[0] + s))
    listeners: list[Callable] = []
    monkeypatch.setattr(door.event, "listens_for", lambda *a: listeners.append)
    wait_for_restarts(None)
    (connect,) = listeners
    assert connect(Dialect(), None, (), {}) == "connection" and clock == [10.0]
    back = 1000.0
    with pytest.raises(Gone):
        connect(Dialect(), None, (), {})
    assert clock == [70.0]
    tried.clear()
    with pytest.raises(Gone):
        connect(Dialect(), None, (), {})
    assert len(tried) == 1


# --- what is in the databases -------------------------------------------------------------------


@pytest.fixture
def addresses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Those of databases with the tables of each, for this process."""
    world = postgres.make_world(tmp_path / "world")
    found = kit.SERVERS[world / "home"]
    optuna.create_study(storage=found[SEARCH])
    for variable, address in found.items():
        monkeypatch.setenv(variable, address)
    return found


OPEN = {
    TRACKING: lambda home: Tracking(home, STUDY),
    SEARCH: lambda home: test_sampler.sampler_of(home),
}


@pytest.mark.parametrize("variable", OPEN)
def test_one_database_for_both_is_refused(
    tmp_path: Path, addresses: dict[str, str], monkeypatch: pytest.MonkeyPatch, variable: str
):
    (other,) = addresses.keys() - {variable}
    monkeypatch.setenv(variable, addresses[other])
    with pytest.raises(BenchError) as refused:
        OPEN[variable](tmp_path)
    said = str(refused.value)
    assert said.startswith(f"{variable}: postgresql+psycopg://***@/")
    assert "database, and both cannot share one. Give each its own" in said


@pytest.mark.parametrize("variable", OPEN)
def test_a_database_of_another_version_is_named_with_what_to_do(
    tmp_path: Path, addresses: dict[str, str], variable: str
):
    name = sqlalchemy.make_url(addresses[variable]).database
    postgres.server().ask("update alembic_version set version_num = 'ffff'", database=name)
    if variable == SEARCH:
        postgres.server().ask("update version_info set schema_version = 99", database=name)
    with pytest.raises(BenchError) as refused:
        OPEN[variable](tmp_path)
    said = str(refused.value)
    assert f"cannot open postgresql+psycopg://***@/{name}" in said
    assert "upgrade" in said and "move the file" not in said and postgres.PASSWORD not in said


def test_what_was_deleted_or_moved_is_put_back(world: Path):
    write_study(world, SWEPT, budget="{trials: 2, sampler: random}")
    assert sweep(world).status == 0
    before, home = world / "home", world / "moved"
    before.rename(home)
    kit.SERVERS[home] = kit.SERVERS[before]
    address = kit.SERVERS[home][TRACKING]
    client = MlflowClient(address)
    gone, deleted, _ = [cell["run_id"] for cell in cells(home).values()]
    client.delete_run(deleted)
    for table in ("latest_metrics", "metrics", "params", "tags", "runs"):  # as `mlflow gc`
        postgres.server().ask(
            f"delete from {table} where run_uuid = %s", gone, database=database(world, TRACKING)
        )
    ended = commands().run(world, "sweep", "tiny.yaml", "--workers", "1", home=home)
    assert ended.status == 0, ended.err
    assert f"{home}: moved here from {before}" in ended.err
    assert "runs of trials that had been deleted, restored: 1" in ended.err
    assert "runs of recorded trials that were not there, put back: 1" in ended.err
    assert [run.status for run in runs(home)] == ["FINISHED"] * 3
    assert follow_home(Address(address, TRACKING, home / "mlflow.db"), home) is None
    assert all(
        (home / "artifacts" / run.id / "artifacts/per_image.json").is_file() for run in runs(home)
    )


def test_a_second_process_waits_for_the_first_to_make_the_tables(
    addresses: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(door, "RESTART", 0.3)
    address = Address(addresses[SEARCH], SEARCH, Path("optuna.db"))
    with address.alone(), pytest.raises(BenchError, match=r"\*\*\*@/.*: held by another program"):
        address.alone().__enter__()
    with address.alone():
        pass
