"""A PostgreSQL server of the tests' own, on a Unix socket in a temporary folder, run by a non-root user."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from pathlib import Path

import psycopg
from sqlalchemy.engine import make_url

from tests.waiting import wait_until

# Debian keeps each version in a folder of its own; the newest counts.
BINARIES = max(
    Path("/usr/lib/postgresql").glob("*/bin"),
    key=lambda folder: int(folder.parent.name),
    default=Path("/usr/lib/postgresql"),
)
PORT = 5432  # only the name of the socket: the server listens on no address


class PostgresServer:
    """`start` before the first database, `stop` at the end. `new_database` returns an SQLAlchemy URL."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="tokd-pg-", dir="/tmp"))
        self._process: subprocess.Popen[bytes] | None = None
        self._databases = 0
        self._user = _owner()

    def start(self) -> None:
        assert (BINARIES / "postgres").exists(), f"PostgreSQL is missing: {BINARIES} (apt install postgresql)"
        os.chown(self._folder, self._user.pw_uid, self._user.pw_gid)
        data = self._folder / "data"
        subprocess.run(
            [BINARIES / "initdb", "-D", data, "-A", "trust", "-U", "tokd", "-E", "UTF8", "--locale=C", "-N"],
            check=True, capture_output=True, **self._as_owner(),
        )  # fmt: skip
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    BINARIES / "postgres", "-D", data, "-k", self._folder, "-p", str(PORT),
                    "-c", "listen_addresses=", "-c", "fsync=off", "-c", "synchronous_commit=off",
                    "-c", "full_page_writes=off", "-c", "shared_buffers=16MB", "-c", "autovacuum=off",
                ],
                stdout=log, stderr=log, **self._as_owner(),
            )  # fmt: skip
        wait_until(self._answers, within_s=20, what=f"PostgreSQL answers (log: {self._folder / 'log'})")

    def new_database(self) -> str:
        self._databases += 1
        name = f"tokd_{self._databases}"
        with psycopg.connect(self._where("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return f"postgresql+psycopg://tokd@/{name}?host={self._folder}&port={PORT}"

    def empty(self, url: str, revision: str) -> None:
        """Forget all rows of a database and set its revision: much cheaper than a new one for each test."""
        with psycopg.connect(self._where(str(make_url(url).database)), autocommit=True) as connection:
            connection.execute("ALTER TABLE audit DISABLE TRIGGER USER")  # it refuses to forget
            connection.execute(
                "TRUNCATE account, attempt, audit, audit_cut, call, command, discovery, flag, link, outbox, post, session,"
                " sighting, task, token, webhook RESTART IDENTITY CASCADE"
            )
            connection.execute("ALTER TABLE audit ENABLE TRIGGER USER")
            connection.execute("UPDATE alembic_version SET version_num = %s", (revision,))

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGINT)  # fast shutdown: it ends its own children
            try:
                self._process.wait(10)
            except subprocess.TimeoutExpired:
                self._process.send_signal(signal.SIGQUIT)
                self._process.wait(10)
            self._process = None
        shutil.rmtree(self._folder, ignore_errors=True)

    def _where(self, database: str) -> str:
        return f"host={self._folder} port={PORT} user=tokd dbname={database}"

    def _answers(self) -> bool:
        assert self._process is not None
        assert self._process.poll() is None, (self._folder / "log").read_text()
        try:
            psycopg.connect(self._where("postgres")).close()
        except psycopg.OperationalError:
            return False
        return True

    def _as_owner(self) -> dict[str, object]:
        if os.geteuid() != 0:
            return {}
        return {
            "user": self._user.pw_uid,
            "group": self._user.pw_gid,
            "extra_groups": [],
            "cwd": self._folder,
        }


def _owner() -> pwd.struct_passwd:
    """Return who runs the server: it refuses root."""
    return pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
