"""From nothing to the newest schema, on both databases; and never from a newer one back."""

import hashlib
import json
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Engine, insert, text

from adapters.storage import rows
from adapters.storage.migrate import HEAD, _config, current_revision, migrate
from adapters.storage.statements import ACCOUNT, POST
from adapters.storage.store import SqlStore, make_engine
from adapters.storage.tables import Row
from daemon.domain.errors import Rejected, StartRefused
from tests.fakes.values import NODE, NOW, a_post, an_account


@pytest.fixture
def engine(empty_url: str) -> Iterator[Engine]:
    found = make_engine(empty_url)
    yield found
    found.dispose()


def test_the_migrations_make_the_very_schema_of_the_tables(engine: Engine) -> None:
    migrate(engine)

    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Row.metadata) == []


def test_the_migrations_make_the_very_tables_that_sqlite_would_make_of_them(tmp_path: Path) -> None:
    # compare_metadata does not look at STRICT, AUTOINCREMENT and the conditions of indexes.
    found = []
    for name, make in (("a.db", migrate), ("b.db", Row.metadata.create_all)):
        engine = make_engine(f"sqlite:///{tmp_path / name}")
        make(engine)
        engine.dispose()
        with sqlite3.connect(tmp_path / name) as raw:
            query = (
                "SELECT name, sql FROM sqlite_master"
                " WHERE name NOT LIKE '%alembic%' AND type <> 'trigger' AND sql IS NOT NULL"
            )
            found.append({key: _words(sql) for key, sql in raw.execute(query)})

    assert found[0] == found[1]


def _words(sql: str) -> list[str]:
    """Return the parts of a statement without regard to line breaks, quotes and the order of columns."""
    head, _, tail = sql.rpartition(")")
    return sorted(" ".join(part.replace('"', "").split()) for part in [*head.split(","), tail])


def test_migrating_twice_changes_nothing(engine: Engine) -> None:
    migrate(engine)
    migrate(engine)

    with engine.connect() as connection:
        assert current_revision(connection) == HEAD


def test_the_posts_from_before_there_were_tasks_are_kept(engine: Engine, empty_url: str) -> None:
    before = rows.post_values(a_post())
    del before["task"]
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0002")
        connection.execute(insert(POST).values(before))
    store = SqlStore(empty_url, NODE)

    store.open()

    with store.transaction() as unit:
        assert unit.post(a_post().id) == a_post()
    store.close()


def test_two_names_of_one_person_from_before_stay_and_only_further_ones_are_refused(
    engine: Engine, empty_url: str
) -> None:
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0009")
        for name, minutes in (("young", 1), ("old", 0)):
            values = rows.account_values(
                an_account(name, open_id="o", linked_at=NOW + timedelta(minutes=minutes))
            )
            connection.execute(insert(ACCOUNT).values(values))
    store = SqlStore(empty_url, NODE)

    store.open()

    with store.transaction() as unit:
        assert [found.name for found in unit.accounts()] == ["old", "young"]
        unit.save_account(an_account("young", open_id="o", token_version=2))  # its tokens are renewed
        with pytest.raises(Rejected, match="another name"):
            unit.save_account(an_account("third", open_id="o"))
        unit.save_account(an_account("fourth", open_id="other"))  # the transaction goes on
    store.close()


def test_the_files_of_tasks_from_before_are_known(engine: Engine, empty_url: str) -> None:
    config = _config()
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0009")
        for key, path in (("t_1", f"uploads/{'a' * 64}.mp4"), ("t_2", "clip.mp4")):
            body = json.dumps({"output": {"video_path": path}, "updated_at": "2026-12-01T12:00:00Z"})
            connection.execute(
                text("INSERT INTO task VALUES (:key, 'ann', 'gen', 'completed', 0, 1, :body)"),
                {"key": key, "body": body},
            )
    store = SqlStore(empty_url, NODE)

    store.open()

    with store.transaction() as unit:
        assert unit.files_of_tasks(["a" * 64, "b" * 64]) == {"a" * 64}
        assert unit.drop_tasks(datetime(2026, 12, 1, 12, tzinfo=UTC), 10) == 0
        assert unit.drop_tasks(datetime(2026, 12, 1, 12, 1, tzinfo=UTC), 10) == 2
    store.close()


def test_an_empty_database_has_no_revision(engine: Engine) -> None:
    with engine.connect() as connection:
        assert current_revision(connection) is None


OPEN = "import sys; from adapters.storage.store import SqlStore; s = SqlStore(sys.argv[1], 'main'); s.open(); s.close()"


def test_two_nodes_may_start_on_an_empty_database_at_once(empty_url: str) -> None:
    nodes = [
        subprocess.Popen([sys.executable, "-c", OPEN, empty_url], stderr=subprocess.PIPE, text=True)
        for _ in range(3)
    ]

    said = [node.communicate(timeout=30)[1] for node in nodes]

    assert [node.returncode for node in nodes] == [0, 0, 0], said


def test_a_newer_database_is_refused_and_keeps_its_tables(
    url: str, open_store: Callable[..., SqlStore]
) -> None:
    with open_store().transaction() as unit:
        unit.add_post(a_post())
    engine = make_engine(url)
    with engine.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    store = SqlStore(url, NODE)

    with pytest.raises(StartRefused, match="9999"):
        store.open()

    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM post")).scalar() == 1
        assert current_revision(connection) == "9999"
    engine.dispose()


def test_a_newer_file_keeps_every_byte_after_a_kill(tmp_path: Path, migrated_file: Path) -> None:
    path = tmp_path / "tokd.db"
    source = tmp_path / "source.db"
    source.write_bytes(migrated_file.read_bytes())
    with sqlite3.connect(source) as raw:
        raw.execute("PRAGMA journal_mode=wal")
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
        raw.commit()
        for end in ("", "-wal"):  # as a kill leaves them: the change stands in the log only
            Path(f"{path}{end}").write_bytes(Path(f"{source}{end}").read_bytes())
    raw.close()
    before = [Path(f"{path}{end}").read_bytes() for end in ("", "-wal")]

    with pytest.raises(StartRefused, match="9999"):
        SqlStore(f"sqlite:///{path}", NODE).open()

    assert [Path(f"{path}{end}").read_bytes() for end in ("", "-wal")] == before


@pytest.mark.parametrize("journal", ["wal", "delete"])
def test_a_newer_file_keeps_every_byte(tmp_path: Path, migrated_file: Path, journal: str) -> None:
    path = tmp_path / "tokd.db"
    path.write_bytes(migrated_file.read_bytes())
    with sqlite3.connect(path) as raw:
        raw.execute(f"PRAGMA journal_mode={journal}")
        raw.execute("UPDATE alembic_version SET version_num = '9999'")
    raw.close()
    before = hashlib.sha256(path.read_bytes()).hexdigest()

    with pytest.raises(StartRefused, match="newer tokd"):
        SqlStore(f"sqlite:///{path}", NODE).open()

    assert hashlib.sha256(path.read_bytes()).hexdigest() == before
    assert [found.name for found in tmp_path.iterdir()] == ["tokd.db"]


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(b"no database at all" * 100, id="a text"),
        pytest.param(b"SQLite format 3\0" * 99, id="a header"),
    ],
)
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "tokd.db"
    path.write_bytes(content)

    with pytest.raises(StartRefused):
        SqlStore(f"sqlite:///{path}", NODE).open()

    assert path.read_bytes() == content


def test_a_database_server_that_is_down_refuses_the_start(tmp_path: Path) -> None:
    with pytest.raises(StartRefused):
        SqlStore(f"postgresql+psycopg://tokd@/none?host={tmp_path}", NODE).open()


def test_a_folder_that_is_missing_is_made_for_its_owner_only(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path / 'a' / 'b' / 'tokd.db'}", NODE)

    store.open()

    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    store.close()
