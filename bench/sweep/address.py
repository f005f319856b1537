"""Where MLflow and Optuna keep what they know: addresses, whether they answer, how to show them.

An address may hold a password. It is shown without it; so is whatever a driver says of it.
"""

import contextlib
import os
import re
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit, urlunsplit

import requests
import sqlalchemy
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DatabaseError, NoSuchModuleError, OperationalError

from bench.errors import BenchError

PATIENCE = 15.0
"""Seconds that an address gets to answer; a database that another program holds, to be let go."""
RESTART = 60.0
"""Seconds that a server gets to come back in mid-sweep, and another process to make the tables."""
OF_THE_OTHER = {
    "MLFLOW_TRACKING_URI": ("Optuna", "study_directions"),
    "BENCH_OPTUNA_STORAGE": ("MLflow", "latest_metrics"),
}
"""Variable -> whose database it must not be, and a table that tells it."""
ALONE = 0x62656E6368
"""Which of PostgreSQL's advisory locks is ours."""
DRIVERS = {
    "postgresql": ("bench[postgres]", "postgresql+psycopg"),
    "mysql": ("pymysql", "mysql+pymysql"),
}
"""Kind of database -> what to install, and the scheme that takes it."""
_SECRET = re.compile(r"([?&;][^=&;]*(?:pass|pwd|token|secret)[^=&;]*=)[^&;\s]*", re.IGNORECASE)


@dataclass(frozen=True)
class Address:
    """An address and the variable that sets it."""

    text: str = field(repr=False)
    variable: str
    default: Path
    """The SQLite file that is taken without the variable."""

    @property
    def shown(self) -> str:
        """The address without its password."""
        scheme, colon, rest = self.text.partition(":")
        if not scheme.startswith("sqlite") and "@" in rest:  # the password may hold / and @ itself
            slashes = "/" * (len(rest) - len(rest.lstrip("/")))
            rest = f"{slashes}***@{rest.rpartition('@')[2]}"
        return _SECRET.sub(r"\1***", f"{scheme}{colon}{rest}")

    def redact(self, text: str) -> str:
        """Returns a text without the password of this address."""
        text = text.replace(self.text, self.shown)
        for secret in self._secrets():
            text = re.sub(rf"(?<!\w){re.escape(secret)}(?!\w)", "***", text)
        return text

    def _secrets(self) -> set[str]:
        before = self.text.rpartition("@")[0].partition("://")[2]
        found = {
            before.partition(":")[2],
            *(m[0][len(m[1]) :] for m in _SECRET.finditer(self.text)),
        }
        return {form for secret in found for form in (secret, unquote(secret)) if form}

    @property
    def of_a_server(self) -> bool:
        """Whether it is that of MLflow's server, not of a database."""
        return self.text.startswith(("http://", "https://"))

    @property
    def file(self) -> Path | None:
        """The file of an SQLite database; None for another address."""
        if not self.text.startswith("sqlite"):
            return None
        name = sqlalchemy.make_url(self.text).database
        return Path(name) if name and name != ":memory:" else None

    def check(self) -> None:
        """Raises BenchError, after PATIENCE seconds at most, unless something answers there."""
        if self.of_a_server:
            if not _is_url(self.text):
                raise BenchError(self._malformed())
            self._within(self._ask_server)
            return
        if self.text.startswith("databricks"):
            return  # MLflow's own affair
        try:
            engine = sqlalchemy.create_engine(self.text, poolclass=sqlalchemy.NullPool)
        except ModuleNotFoundError as error:
            raise BenchError(self._driver_missing(error.name or "its driver")) from None
        except (ArgumentError, NoSuchModuleError, ValueError):
            raise BenchError(self._malformed()) from None
        if file := self.file:
            self._check_free(file)
            with contextlib.suppress(DatabaseError):  # its own door says what is wrong with it
                self._check_apart(engine)
        else:
            self._within(lambda: self._check_apart(engine))

    def _check_apart(self, engine: sqlalchemy.Engine) -> None:
        """Raises BenchError if the other one's tables are there: both count theirs in one place."""
        other, table = OF_THE_OTHER[self.variable]
        if sqlalchemy.inspect(engine).has_table(table):
            raise BenchError(
                f"{self.variable}: {self.shown} is {other}'s database, and both cannot share one. "
                f"Give each its own; without the variable it is {self.default}."
            )

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Lets one process at a time make the tables of a PostgreSQL, whichever home it has.

        Raises BenchError if another takes longer than RESTART seconds.
        """
        if not self.text.startswith("postgresql"):
            yield
            return
        engine = sqlalchemy.create_engine(self.text, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:  # the end of its transaction lets go of the lock
            connection.exec_driver_sql(f"set local lock_timeout = {RESTART * 1000:.0f}")
            try:
                connection.execute(sqlalchemy.select(sqlalchemy.func.pg_advisory_xact_lock(ALONE)))
            except OperationalError:
                raise BenchError(held(self.shown, RESTART)) from None
            yield

    def _malformed(self) -> str:
        forms = ["sqlite:////FILE", "postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"]
        if self.variable == "MLFLOW_TRACKING_URI":
            forms.insert(0, "http://HOST:PORT")
        return (
            f"{self.variable}: {self.shown!r} is no address that bench knows. Write "
            f"{', '.join(forms)}; without the variable it is {self.default}."
        )

    def _driver_missing(self, module: str) -> str:
        kind, _, rest = self.shown.partition("://")
        package, scheme = DRIVERS.get(kind.partition("+")[0], (module, kind))
        return (
            f"{self.variable}: {self.shown} wants the Python package {module}, which is not "
            f"installed. pip install '{package}', and write {scheme}://{rest}"
        )

    def _check_free(self, file: Path) -> None:
        """Raises BenchError if another program holds an SQLite file for longer than PATIENCE."""
        if not file.exists():
            return
        database = sqlite3.connect(file, timeout=PATIENCE, isolation_level=None)
        try:
            database.execute("begin immediate")
        except sqlite3.OperationalError as error:
            if "locked" in str(error):
                raise BenchError(held(file, PATIENCE)) from None
        except sqlite3.DatabaseError:
            pass  # its own door says what is wrong with it
        finally:
            database.close()

    def _ask_server(self) -> None:
        requests.get(self.text, timeout=PATIENCE, stream=True).close()

    def _within(self, ask: Callable[[], None]) -> None:
        """Asks in a thread: neither a name server nor every driver keeps to a time limit."""
        errors: list[Exception] = []

        def run() -> None:
            try:
                ask()
            except Exception as error:
                errors.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        if thread.is_alive() or errors:
            if errors and isinstance(errors[0], BenchError):
                raise errors[0]
            why = innermost(errors[0]) if errors else f"nothing came in {PATIENCE:.0f} s"
            raise BenchError(
                f"{self.variable}: {self.shown} does not answer: {self.redact(why)}. Start what "
                f"should answer there, or correct the variable; without it, it is {self.default}."
            )


def tracking_address(home: Path) -> Address:
    """Returns MLflow's: $MLFLOW_TRACKING_URI, else the SQLite file in `home`."""
    return _address("MLFLOW_TRACKING_URI", home / "mlflow.db")


def search_address(home: Path) -> Address:
    """Returns Optuna's: $BENCH_OPTUNA_STORAGE, else the SQLite file in `home`."""
    return _address("BENCH_OPTUNA_STORAGE", home / "optuna.db")


def _address(variable: str, file: Path) -> Address:
    return Address(os.environ.get(variable) or sqlite_address(file), variable, file)


def sqlite_address(file: Path) -> str:
    """Returns the address of an SQLite file, whatever its path holds.

    Raises BenchError if SQLAlchemy would read another path out of it. With the driver named in the
    address, MLflow makes no folder by what the path reads before %2F is decoded.
    """
    written = sqlalchemy.URL.create("sqlite+pysqlite", database=str(file))
    for text in (f"sqlite:///{file}", written.render_as_string()):
        url = sqlalchemy.make_url(text)
        if url.database == str(file) and not url.query:
            return text
    odd = ", ".join(c for c in "%?#" if c in str(file))
    raise BenchError(
        f"{file.parent}: no database can lie in a folder whose path holds {odd}: SQLAlchemy "
        f"{sqlalchemy.__version__} reads it as something else. Choose another BENCH_HOME."
    )


@event.listens_for(sqlalchemy.Engine, "connect")
def _wait_for_locks_a_while(connection: Any, record: object) -> None:
    """PostgreSQL waits for ever by default. For every engine: MLflow's own is out of reach."""
    if not type(connection).__module__.startswith("psycopg"):
        return
    before, connection.autocommit = connection.autocommit, True
    with connection.cursor() as cursor:
        cursor.execute(f"set lock_timeout = {PATIENCE * 1000:.0f}")
    connection.autocommit = before


def wait_for_restarts(engine: sqlalchemy.Engine) -> None:
    """Makes an engine's new connections wait, RESTART seconds once, for a server to come back."""
    gone = False

    @event.listens_for(engine, "do_connect")
    def connect(dialect: Any, record: object, arguments: Any, more: Any) -> Any:
        nonlocal gone
        end = time.monotonic() + (0 if gone else RESTART)
        while True:
            try:
                connection = dialect.connect(*arguments, **more)
            except dialect.loaded_dbapi.OperationalError:
                if gone := time.monotonic() >= end:
                    raise
                time.sleep(0.5)
            else:
                gone = False
                return connection


def without_password(address: Address) -> tuple[str, str, str]:
    """Returns (URL, user, password) of a server's address."""
    parts = urlsplit(address.text)
    host = parts.netloc.rpartition("@")[2]
    bare = urlunsplit(parts._replace(netloc=host))
    return bare, unquote(parts.username or ""), unquote(parts.password or "")


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is no number: part of a password that holds / or #
        return False


def held(database: Path | str, seconds: float) -> str:
    """Returns what to say of a database that another program holds."""
    return (
        f"{database}: held by another program for more than {seconds:.0f} s. Close what has it "
        "open (of a file, `fuser` names it), and run the same command again."
    )


def innermost(error: BaseException) -> str:
    """Returns the first line of what was at the bottom of an error."""
    while below := error.__cause__ or error.__context__:
        error = below
    text = getattr(error, "strerror", None) or str(error) or repr(error)
    return str(text).strip().splitlines()[0].rstrip(".")
