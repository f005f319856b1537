"""A PostgreSQL of the tests' own: started when first asked for, thrown away at the end.

It listens on a socket in its own folder and nowhere else, and writes without waiting for the disk.
"""

import atexit
import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import kit
import psycopg
import pytest
import sqlalchemy

PROGRAMS = [p.parent for p in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))]  # Debian
PASSWORD = "hush"  # nobody asks for it, and nobody may show it


class Server:
    """A database cluster in a folder of its own."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="pg"))
        self._count = itertools.count()
        # It refuses to run as root; PostgreSQL's own user is there wherever Debian's package is.
        self._user = "postgres" if os.getuid() == 0 else ""
        if self._user:
            entry = pwd.getpwnam(self._user)
            os.chown(self.folder, entry.pw_uid, entry.pw_gid)
        self._run("initdb", "--no-sync", "--auth=trust", "--encoding=UTF8", "--username=me")
        self.start()

    def _run(self, program: str, *options: str) -> None:
        command = [str(PROGRAMS[-1] / program), "-D", str(self.folder / "data"), *options]
        if self._user:
            command = ["setpriv", f"--reuid={self._user}", f"--regid={self._user}",
                       "--clear-groups", *command]  # fmt: skip
        with (self.folder / "log").open("a") as log:
            subprocess.run(command, stdout=log, stderr=log, cwd=self.folder, check=True)

    def start(self) -> None:
        settings = f"-F -c listen_addresses='' -k {self.folder}"
        self._run("pg_ctl", "-w", "-o", settings, "-l", str(self.folder / "data/log"), "start")

    def stop(self) -> None:
        """As a machine that goes away: no client is waited for."""
        self._run("pg_ctl", "-w", "-m", "immediate", "stop")

    def ask(self, query: str, *values: Any, database: str = "postgres") -> list[tuple[Any, ...]]:
        place = f"host={self.folder} user=me dbname={database}"
        with psycopg.connect(place, autocommit=True) as connection:
            answer = connection.execute(query, values or None)  # type: ignore[call-overload]
            return list(answer) if answer.description else []

    def cut(self, database: str) -> int:
        """Ends every connection to a database; returns how many there were."""
        query = "select pg_terminate_backend(pid) from pg_stat_activity where datname = %s"
        return len(self.ask(query, database))

    def address(self, database: str) -> str:
        return f"postgresql+psycopg://me:{PASSWORD}@/{database}?host={self.folder}"

    def new(self, like: str = "template1") -> str:
        """Makes a database; returns its name."""
        name = f"db{next(self._count)}"
        self.ask(f"create database {name} template {like}")
        return name

    @cache  # noqa: B019 - there is one server
    def blank(self) -> str:
        """The name of a database with MLflow's tables: they take seconds to make."""
        name = self.new()
        code = (
            "import os, mlflow\n"
            f"mlflow.MlflowClient({self.address(name)!r}).search_experiments()\n"
            "raise SystemExit(0)"
        )
        assert kit.commands().run(self.folder, before=code).status == 0
        return name

    def close(self) -> None:
        self.stop()
        shutil.rmtree(self.folder)


def server() -> Server:
    """The server of the whole test run. Skips the test where PostgreSQL is not installed."""
    if not PROGRAMS:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    return _server()


@cache
def _server() -> Server:
    started = Server()
    atexit.register(started.close)
    return started


def make_world(folder: Path, homes: Sequence[str] = ("home",), blank: bool = True) -> Path:
    """As `kit.make_world`, with both databases on the server; several homes share them.

    blank: MLflow's tables are there.
    """
    kit.make_world(folder)
    tracking, search = server().new(server().blank() if blank else "template1"), server().new()
    for name in homes:
        (folder / name).mkdir(exist_ok=True)
        (folder / name / "mlflow.db").unlink(missing_ok=True)
        kit.SERVERS[folder / name] = {
            "MLFLOW_TRACKING_URI": server().address(tracking),
            "BENCH_OPTUNA_STORAGE": server().address(search),
        }
    return folder


def database(home: Path, variable: str) -> str:
    """The name of a home's database."""
    name = sqlalchemy.make_url(kit.SERVERS[home][variable]).database
    assert name
    return name
