"""Addresses of MLflow and Optuna: told within seconds what is wrong, passwords never shown."""

import shutil
import socket
import sqlite3
import sys
import threading
import time
from contextlib import closing
from pathlib import Path

import kit
import optuna
import pytest
from kit import commands, runs, trials, write_study
from mlflow import MlflowClient

from bench.errors import BenchError
from bench.sweep import address as door
from bench.sweep.address import Address, search_address, tracking_address, without_password
from bench.sweep.home import follow_home

pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

SECRET = "hush/h@sh"
FILE = Path("/home/of/mlflow.db")


def address_of(text: str) -> Address:
    return Address(text, "MLFLOW_TRACKING_URI", FILE)


def said_of(text: str) -> str:
    with pytest.raises(BenchError) as error:
        address_of(text).check()
    assert "hush" not in str(error.value) and "h@sh" not in str(error.value)
    assert len(str(error.value).splitlines()) == 1
    assert str(FILE) in str(error.value) or "pip install" in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    "text",
    [
        "sqlite:/x",
        "htp://HOST",
        f"htp://me:{SECRET}@host",
        f"postgres:/me:{SECRET}@host/db",
        f"http://me:{SECRET}@host:5000",  # not encoded: whose port is hush?
        "http://",
        "https://[::1",
        "file:///mlruns",
        "mlruns",
    ],
)
def test_what_is_no_address_is_told_with_the_forms_that_are(text: str):
    said = said_of(text)
    assert said.startswith("MLFLOW_TRACKING_URI: ")
    assert "is no address that bench knows. Write http://HOST:PORT, sqlite:////FILE" in said


def test_a_missing_driver_is_told_with_what_installs_it(monkeypatch: pytest.MonkeyPatch):
    for module in ("psycopg", "psycopg2", "MySQLdb"):
        monkeypatch.setitem(sys.modules, module, None)
    for scheme in ("postgresql", "postgresql+psycopg2", "postgresql+psycopg"):
        said = said_of(f"{scheme}://me:hush@host/db?sslpassword=hush")
        shown = "***@host/db?sslpassword=***"
        assert said.startswith(f"MLFLOW_TRACKING_URI: {scheme}://{shown} wants the Python package ")
        assert said.endswith(
            f"pip install 'bench[postgres]', and write postgresql+psycopg://{shown}"
        )
    assert "pip install 'pymysql', and write mysql+pymysql://" in said_of("mysql://me:hush@host/db")


def test_an_address_where_nothing_listens_and_one_that_has_no_host():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        said = said_of(f"http://me:hush%2Fh%40sh@127.0.0.1:{port}")
        assert f"http://***@127.0.0.1:{port} does not answer: Connection refused. " in said
    assert "nowhere.invalid:5000 does not answer: " in said_of("http://nowhere.invalid:5000")


def test_a_server_that_never_answers_is_told_in_time(monkeypatch: pytest.MonkeyPatch):
    assert door.PATIENCE < 20
    monkeypatch.setattr(door, "PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0), backlog=1) as mute:
        begin = time.monotonic()
        said = said_of(f"http://me:hush@127.0.0.1:{mute.getsockname()[1]}")
        assert time.monotonic() - begin < 5
    assert "does not answer: " in said


@pytest.mark.parametrize("seconds", [0.3, 3.0])
def test_a_database_that_another_program_holds_is_waited_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seconds: float
):
    monkeypatch.setattr(door, "PATIENCE", 1.0)
    file = tmp_path / "optuna.db"
    with closing(sqlite3.connect(file, isolation_level=None, check_same_thread=False)) as other:
        other.execute("create table t (a)")
        other.execute("begin exclusive")
        let_go = threading.Timer(seconds, lambda: other.execute("commit"))
        let_go.start()
        if seconds < 1:
            search_address(tmp_path).check()
        else:
            with pytest.raises(BenchError, match=r"optuna\.db: held by another program for more"):
                search_address(tmp_path).check()
        let_go.join()


def test_a_password_is_shown_nowhere():
    address = address_of("http://me:hush%2Fh%40sh@host:5000/base?token=hush")
    assert address.shown == "http://***@host:5000/base?token=***"
    assert "hush" not in repr(address)
    assert without_password(address)[1:] == ("me", SECRET)
    assert "hush" not in address.redact(f"failed for {address.text} with {SECRET}, hush%2Fh%40sh")
    assert address_of("sqlite:////home/me@work/x.db").shown == "sqlite:////home/me@work/x.db"


# --- folders with names that addresses do not like -----------------------------------------------


@pytest.mark.parametrize("name", ["a%2Fb", "a%20b", "a?b=c", "a#b", "a b@c:d;e&f", "100%", "ä%3F"])
def test_both_databases_lie_in_a_home_of_any_name(tmp_path: Path, name: str):
    home = tmp_path / name
    commands().blank(home)
    client = MlflowClient(tracking_address(home).text)
    experiment = client.create_experiment("e", artifact_location=(home / "artifacts").as_uri())
    run = client.create_run(experiment).info.run_id
    client.log_text(run, "x", "a.txt")
    optuna.create_study(storage=search_address(home).text, study_name="s")
    assert (home / "artifacts" / run / "artifacts/a.txt").read_text() == "x"
    assert kit._rows(home / "mlflow.db", "select name from experiments")[-1] == ("e",)
    assert kit._rows(home / "optuna.db", "select study_name from studies") == [("s",)]
    assert sorted(p.name for p in home.iterdir()) == ["artifacts", "mlflow.db", "optuna.db"]
    assert [p.name for p in tmp_path.iterdir()] == [name]


def test_a_folder_that_cannot_be_written_as_an_address_is_refused_by_its_character(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(door.sqlalchemy.URL, "render_as_string", lambda self: "sqlite:///x?y")
    with pytest.raises(BenchError, match=r"whose path holds \?: .* Choose another BENCH_HOME"):
        tracking_address(tmp_path / "a?b")


# --- a home that was moved ------------------------------------------------------------------------


def test_a_home_is_followed_once_and_only_its_own_experiments(tmp_path: Path):
    before, home = tmp_path / "before", tmp_path / "now"
    commands().blank(before)
    (before / "artifacts").mkdir()
    (before / "id").write_text("me")
    client = MlflowClient(tracking_address(before).text)
    here = (before / "artifacts").as_uri()
    theirs = (tmp_path / "theirs").as_uri()
    mine = client.create_experiment("tiny", here, {"bench.home": "me"})
    client.create_experiment("bench", here)  # of an earlier version
    client.create_experiment("other", theirs, {"bench.home": "another"})
    run = client.create_run(mine).info.run_id
    del client
    before.rename(home)
    assert follow_home(tracking_address(home), home) == before
    assert follow_home(tracking_address(home), home) is None
    now = (home / "artifacts").as_uri()
    places = kit._rows(home / "mlflow.db", "select name, artifact_location from experiments")[1:]
    assert dict(places) == {"tiny": now, "bench": now, "other": theirs}
    assert kit._rows(home / "mlflow.db", "select artifact_uri from runs") == [
        (f"{now}/{run}/artifacts",)
    ]
    (tmp_path / "link").symlink_to(home)  # another way to the same folder
    assert follow_home(tracking_address(tmp_path / "link"), tmp_path / "link") is None


# --- the commands ---------------------------------------------------------------------------------

SWEPT = "shift: {use: nets.Shift, error: {float: [0.0, 0.2]}}"


@pytest.fixture
def world(tmp_path: Path) -> Path:
    folder = kit.make_world(tmp_path / "world")
    write_study(folder, SWEPT, budget="{trials: 1}")
    return folder


@pytest.mark.parametrize("variable", ["MLFLOW_TRACKING_URI", "BENCH_OPTUNA_STORAGE"])
def test_a_sweep_says_in_one_line_what_is_wrong_with_an_address(world: Path, variable: str):
    text = "postgresql+nodriver://me:hush@host/db"
    set_ = f"import os; os.environ[{variable!r}] = {text!r}"
    ended = commands().run(world, "sweep", "tiny.yaml", before=set_)
    assert ended.status == 2
    (line,) = ended.err.splitlines()
    assert line.startswith(f"Error: {variable}: 'postgresql+nodriver://***@host/db' is no address")
    assert not (world / "home/studies/tiny/study.json").exists()


def test_a_sweep_in_a_home_of_an_odd_name(world: Path):
    home = world / "built%2Fby a?#server"
    shutil.move(world / "home", home)
    ended = commands().run(world, "sweep", "tiny.yaml", "--workers", "1", home=home)
    assert ended.status == 0, ended.err
    assert [run.status for run in runs(home)] == ["FINISHED"]
    assert [state for _, state, _ in trials(home)] == ["COMPLETE"]
    assert not (world / "home").exists()


def test_optunas_database_that_is_held_in_mid_sweep_stops_it_with_a_message(world: Path):
    (world / "hold").touch()
    before = "from bench.sweep import sampler\nsampler.PATIENCE = 0.5"
    command = ("sweep", "tiny.yaml", "--workers", "1")
    driver = commands().start(world, *command, before=before)
    kit.until(lambda: "training 8 steps" in driver.err())
    with closing(sqlite3.connect(world / "home/optuna.db", isolation_level=None)) as other:
        other.execute("begin exclusive")
        (world / "hold").unlink()
        ended = driver.wait()
    assert ended.status == 2
    assert "Traceback" not in ended.err
    last = ended.err.splitlines()[-1]
    assert "optuna.db fails: database is locked" in last
    assert last.endswith("Nothing is lost: mend that and run the same command again.")
    assert commands().run(world, *command).status == 0
    assert [state for _, state, _ in trials(world / "home")] == ["COMPLETE"]


def test_bench_mlflow_says_where_a_study_is_and_shows_no_password(world: Path):
    assert commands().run(world, "sweep", "tiny.yaml", "--workers", "1").status == 0
    serve = """
from bench.look import machine
def serve(command, env, check):
    print("COMMAND", *command)
    return subprocess.CompletedProcess(command, 0)
machine.subprocess.run = serve
"""
    ended = commands().run(world, "mlflow", "tiny.yaml", "--port", "5999", before=serve)
    first, command = ended.out.splitlines()
    (experiment,) = kit._rows(
        world / "home/mlflow.db", "select experiment_id from experiments where name = 'tiny'"
    )
    assert first == (
        f"tiny: http://127.0.0.1:5999/#/experiments/{experiment[0]}/runs"
        "?viewStateShareKey=bench&workflowType=machine_learning"
    )
    assert "sqlite" not in command
    unknown = commands().run(world, "mlflow", "tini")
    assert unknown.status == 2
    assert "unknown study 'tini'. Did you mean 'tiny'?" in unknown.err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        refused = commands().run(world, "mlflow", "--port", port)
    assert refused.err == f"Error: --port {port}: something else listens there. Give another one.\n"
