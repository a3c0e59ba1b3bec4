"""What operations need of the ledger, on SQLite and on PostgreSQL: its check, its retention, sealing its secrets anew."""

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from sqlalchemy import update
from sqlalchemy.exc import DBAPIError

from adapters.storage.check import Look, check_ledger
from adapters.storage.statements import ACCOUNT
from adapters.storage.store import SqlStore, make_engine
from adapters.vault import FernetVault
from daemon.domain.access import Token
from daemon.domain.audit import Entry
from daemon.domain.errors import AccountUnreadable
from daemon.domain.events import Event, EventType
from daemon.domain.ids import AccountName, PostId, SessionId, TaskId
from daemon.domain.linking import VERIFIER
from daemon.domain.platform import Endpoint
from daemon.domain.post import Post, State
from daemon.domain.task import TaskStatus
from daemon.handlers.reseal_secrets import PAGE, reseal_page
from daemon.ports import Unit
from tests.contract.test_links import LINK
from tests.contract.test_sessions import FULL
from tests.contract.test_tasks import a_task
from tests.fakes.values import NODE, NOW, a_post, a_request, an_account, an_attempt

OLD = NOW - timedelta(days=40)
LIMIT = NOW - timedelta(days=30)


def looks(url: str) -> dict[str, Look]:
    return {look.name: look for look in check_ledger(url)}


def write(store: SqlStore, *changes: Callable[[Unit], object]) -> None:
    with store.transaction() as unit:
        for change in changes:
            change(unit)


def run(url: str, *statements: str) -> None:
    """Do to the ledger what tokd never does."""
    engine = make_engine(url)
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)
        connection.commit()
    engine.dispose()


def some_life(unit: Unit) -> None:
    unit.save_account(an_account())
    unit.add_post(a_post("p_1", state=State.CLAIMED, attempt=1))
    unit.save_attempt(an_attempt("p_1"))
    unit.add_post(a_post("p_2"))
    for number in range(4):
        unit.add_event(Event(EventType.POST_SCHEDULED, "post/p_1", NOW, {"number": number}))
        unit.add_audit(
            Entry(
                number=0, at=NOW, transport="test", actor="me", verb="system/pause", command_id=f"c-{number}",
                body_hash="h", status="done", code=None,
            )
        )  # fmt: skip


def test_a_sound_ledger_has_no_finding(store: SqlStore, url: str) -> None:
    write(store, some_life)

    assert [look.name for look in looks(url).values() if not look.is_ok] == []


@pytest.mark.parametrize(
    ("name", "statements", "told"),
    [
        ("posts in hand", ("DROP INDEX post_one_in_hand", "UPDATE post SET state = 'uploading'"), "account ada has 2"),
        ("attempts", ("DELETE FROM attempt",), "post p_1 lacks its attempt 1"),
        ("events", ("DELETE FROM outbox WHERE sequence = 2",), "2 to 2 are missing"),
        ("schema", ("UPDATE alembic_version SET version_num = '9999'",), "newer"),
    ],
)  # fmt: skip
def test_what_must_not_be_is_found(
    request: pytest.FixtureRequest, open_store: Callable[..., SqlStore], url: str, name: str,
    statements: tuple[str, ...], told: str,
) -> None:  # fmt: skip
    if url.startswith("postgresql") and any("DROP INDEX" in text or "alembic" in text for text in statements):
        url = request.getfixturevalue("postgres").new_database()  # the shared one keeps its schema
        store = SqlStore(url, NODE)
        store.open()
    else:
        store = open_store()
    write(store, some_life)
    store.close()

    run(url, *statements)

    found = looks(url)[name]
    assert not found.is_ok
    assert told in found.text


def test_a_changed_entry_of_the_audit_trail_is_found(tmp_path: Path) -> None:
    store = SqlStore(f"sqlite:///{tmp_path}/tokd.db", NODE)
    store.open()
    write(store, some_life)
    store.close()
    run(
        f"sqlite:///{tmp_path}/tokd.db",
        "DROP TRIGGER audit_no_update",
        "UPDATE audit SET actor = 'x' WHERE number = 3",
    )

    assert "entry 3 of 4" in looks(f"sqlite:///{tmp_path}/tokd.db")["audit trail"].text


def test_a_trail_that_was_cut_for_its_age_is_sound(store: SqlStore, url: str) -> None:
    def old_entry(unit: Unit) -> None:
        for at in (OLD, OLD, NOW):
            unit.add_audit(
                Entry(
                    number=0, at=at, transport="test", actor="me", verb="system/pause", command_id=None,
                    body_hash="h", status="done", code=None,
                )
            )  # fmt: skip

    write(store, old_entry)

    with store.transaction() as unit:
        assert [unit.cut_audit(LIMIT, 1) for _ in range(3)] == [1, 1, 0]

    assert looks(url)["audit trail"].is_ok
    with store.transaction() as unit:
        assert [entry.number for entry in unit.audit(0, 10, None, None)] == [3]


@pytest.mark.parametrize(
    "change", ["DELETE FROM audit WHERE number = 3", "DELETE FROM audit", "UPDATE audit SET actor = 'x'"]
)
def test_the_database_refuses_to_remove_what_was_not_cut(store: SqlStore, url: str, change: str) -> None:
    write(store, some_life)
    with store.transaction() as unit:
        unit.cut_audit(NOW + timedelta(days=1), 2)

    with pytest.raises(DBAPIError, match="only ever added to"):
        run(url, change)


def test_numbers_may_jump_where_a_backup_was_restored(store: SqlStore, url: str) -> None:
    def jump(unit: Unit) -> None:
        unit.sequence = 500  # type: ignore[attr-defined]
        unit.add_event(Event(EventType.DAEMON_RESTORED, "daemon/main", NOW, {}))

    write(store, some_life, jump)

    assert looks(url)["events"].is_ok


# -- retention ---------------------------------------------------------------------------------------------


def over(key: str, **changes: Any) -> Post:
    ended: dict[str, Any] = {"state": State.PUBLISHED, "finished_at": OLD, "wake_at": None}
    return a_post(key, **(ended | changes))


def test_posts_that_ended_long_ago_go_with_their_attempts(store: SqlStore) -> None:
    write(
        store,
        lambda unit: unit.add_post(over("p_old")),
        lambda unit: unit.save_attempt(an_attempt("p_old")),
    )

    with store.transaction() as unit:
        assert unit.drop_posts(LIMIT, 10) == 1
        assert unit.post(PostId("p_old")) is None
        assert unit.attempts(PostId("p_old")) == []


@pytest.mark.parametrize(
    "stays",
    [
        {"finished_at": NOW},
        {"state": State.UNCERTAIN, "finished_at": None},
        {"state": State.SCHEDULED, "finished_at": None},
        {"retained": True},
        {"wake_at": NOW},
        {"task": TaskId("t_1")},
    ],
    ids=lambda changes: "-".join(changes),
)
def test_no_other_post_goes(store: SqlStore, stays: dict[str, object]) -> None:
    write(store, lambda unit: unit.add_post(over("p_1", **stays)))

    with store.transaction() as unit:
        assert unit.drop_posts(LIMIT, 10) == 0
        assert unit.post(PostId("p_1")) is not None


def test_a_sweep_takes_so_many_at_once(store: SqlStore) -> None:
    write(store, *(lambda unit, key=f"p_{n}": unit.add_post(over(key)) for n in range(5)))  # type: ignore[misc]

    with store.transaction() as unit:
        assert [unit.drop_posts(LIMIT, 2) for _ in range(4)] == [2, 2, 1, 0]


OLD_ROWS: dict[str, Callable[[Unit, int], object]] = {
    "drop_commands": lambda unit, n: unit.add_command(
        a_request(id=f"c-{n}", received_at=OLD), f"c-{n}", {"final": True}
    ),
    "drop_outbox": lambda unit, n: unit.add_reply("mqtt", f"reply/{n}", "{}", None, None, OLD),
    "drop_sessions": lambda unit, n: unit.add_session(replace(FULL, id=SessionId(f"{n:016}"), ended_at=OLD)),
    "drop_tokens": lambda unit, n: unit.add_token(
        Token(id=f"k_{n}", user="ann", issued_at=OLD, expires_at=OLD)
    ),
    "drop_hints": lambda unit, n: unit.add_hint(f"h-{n}", OLD),
    "drop_links": lambda unit, n: unit.save_link(
        replace(LINK, account=AccountName(f"a{n}"), state_hash=f"h{n}", expires_at=OLD)
    ),
    "drop_calls": lambda unit, n: unit.record_call(
        AccountName("ada"), Endpoint.INIT, OLD + timedelta(seconds=n)
    ),
}


@pytest.mark.parametrize("drop", sorted(OLD_ROWS))
def test_however_many_rows_are_old_one_transaction_takes_so_many_only(store: SqlStore, drop: str) -> None:
    write(store, *(lambda unit, n=n: OLD_ROWS[drop](unit, n) for n in range(5)))  # type: ignore[misc]
    write(store, lambda unit: unit.mark_sent([out.row for out in unit.unsent(0, 100)], OLD))

    with store.transaction() as unit:
        assert [getattr(unit, drop)(LIMIT, 2) for _ in range(4)] == [2, 2, 1, 0]


def test_a_task_goes_with_its_posts_when_all_of_them_have_ended(store: SqlStore) -> None:
    task = a_task(1, status=TaskStatus.COMPLETED, created_at=OLD, updated_at=OLD, post=PostId("p_2"))
    write(
        store,
        lambda unit: unit.add_task(task),
        lambda unit: unit.add_post(over("p_1", task=task.id, state=State.FAILED)),
        lambda unit: unit.add_post(over("p_2", task=task.id, finished_at=NOW)),
    )

    with store.transaction() as unit:
        assert unit.drop_tasks(LIMIT, 10) == 0
        post = unit.post(PostId("p_2"))
        assert post is not None
    run_later = LIMIT + timedelta(days=31)
    with store.transaction() as unit:
        assert unit.drop_tasks(run_later, 10) == 1
        assert (unit.task(task.id), unit.post(PostId("p_1")), unit.post(PostId("p_2"))) == (None, None, None)


def test_a_task_that_took_long_is_kept_from_its_end_on(store: SqlStore) -> None:
    task = a_task(1, status=TaskStatus.COMPLETED, created_at=OLD, updated_at=NOW)
    write(store, lambda unit: unit.add_task(task))

    with store.transaction() as unit:
        assert unit.drop_tasks(LIMIT, 10) == 0
        assert unit.drop_tasks(NOW + timedelta(seconds=1), 10) == 1


@pytest.mark.parametrize("status", [TaskStatus.SUBMITTED, TaskStatus.RUNNING])
def test_a_task_that_is_open_stays(store: SqlStore, status: TaskStatus) -> None:
    write(store, lambda unit: unit.add_task(a_task(1, status=status, created_at=OLD)))

    with store.transaction() as unit:
        assert unit.drop_tasks(LIMIT, 10) == 0


# -- keys --------------------------------------------------------------------------------------------------


def sealed_life(unit: Unit, vault: FernetVault, posts: int) -> None:
    unit.save_account(
        replace(
            an_account(),
            access_token=vault.seal("access_token", "ada", "act"),
            refresh_token=vault.seal("refresh_token", "ada", "rft"),
        )
    )
    for number in range(posts):
        key = f"p_{number:03}"
        unit.add_post(a_post(key, attempt=1))
        unit.save_attempt(an_attempt(key, upload_url=vault.seal("upload_url", key, f"url {number}")))


def test_a_link_that_somebody_has_begun_survives_a_new_key(store: SqlStore) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    link = replace(LINK, verifier=FernetVault([old]).seal(VERIFIER, LINK.account, "pkce"))
    write(store, lambda unit: unit.save_link(link))

    with store.transaction() as unit:
        page = reseal_page(unit, FernetVault([new, old]), None)
        kept = unit.link(link.account)

    assert (page.resealed, page.unreadable) == (1, 0)
    assert kept is not None
    assert FernetVault([new]).open(VERIFIER, LINK.account, kept.verifier or "") == "pkce"
    assert replace(kept, verifier=link.verifier) == link


def test_every_secret_is_sealed_anew_page_by_page_and_readable_in_between(store: SqlStore) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    both, newest = FernetVault([new, old]), FernetVault([new])
    write(store, lambda unit: sealed_life(unit, FernetVault([old]), PAGE + 5))

    mark, resealed, is_first = None, 0, True
    while is_first or mark is not None:
        is_first = False
        with store.transaction() as unit:
            page = reseal_page(unit, both, mark)
        mark, resealed = page.next, resealed + page.resealed
        assert page.unreadable == 0
        with store.transaction() as unit:  # as after a crash here: nothing is out of reach
            urls = [attempt.upload_url or "" for attempt in unit.sealed_attempts(None, 1000)]
        assert [both.open("upload_url", f"p_{place:03}", url) for place, url in enumerate(urls)] == [
            f"url {place}" for place in range(PAGE + 5)
        ]

    assert resealed == PAGE + 5 + 2
    with store.transaction() as unit:
        account = unit.account(an_account().name)
        assert account is not None
        assert newest.open("access_token", "ada", account.access_token) == "act"
        assert newest.open("refresh_token", "ada", account.refresh_token) == "rft"
        for number in range(PAGE + 5):
            key = f"p_{number:03}"
            url = unit.attempts(PostId(key))[0].upload_url
            assert newest.open("upload_url", key, url or "") == f"url {number}"


def test_however_many_accounts_there_are_one_transaction_seals_a_page_of_them(store: SqlStore) -> None:
    old, new = Fernet.generate_key().decode(), Fernet.generate_key().decode()
    names = [AccountName(f"u{number:03}") for number in range(PAGE + 5)]
    before, both, newest = FernetVault([old]), FernetVault([new, old]), FernetVault([new])
    for name in names:
        sealed = {key: before.seal(key, name, "t") for key in ("access_token", "refresh_token")}
        account = an_account(name, **sealed)
        write(store, lambda unit, account=account: unit.save_account(account))  # type: ignore[misc]

    marks: list[str | None] = [None]
    resealed = []
    while marks[-1] is not None or not resealed:
        with store.transaction() as unit:
            page = reseal_page(unit, both, marks[-1])
        marks.append(page.next)
        resealed.append(page.resealed)

    assert resealed == [2 * PAGE, 2 * 5]
    with store.transaction() as unit:
        for account in unit.accounts():
            assert newest.open("access_token", account.name, account.access_token) == "t"
            assert newest.open("refresh_token", account.name, account.refresh_token) == "t"
        assert unit.account_names() == names


def test_an_account_that_cannot_be_read_lets_no_old_key_go(store: SqlStore) -> None:
    vault = FernetVault([Fernet.generate_key().decode()])
    write(store, lambda unit: sealed_life(unit, vault, 0))
    write(store, lambda unit: unit._db.execute(update(ACCOUNT).values(creator="{")))  # type: ignore[attr-defined]

    with store.transaction() as unit, pytest.raises(AccountUnreadable):
        reseal_page(unit, vault, None)


def test_sealing_anew_a_second_time_changes_nothing(store: SqlStore) -> None:
    vault = FernetVault([Fernet.generate_key().decode()])
    write(store, lambda unit: sealed_life(unit, vault, 2))

    with store.transaction() as unit:
        page = reseal_page(unit, vault, None)

    assert (page.resealed, page.unreadable, page.next) == (0, 0, None)


def test_what_no_key_opens_is_counted_and_left(store: SqlStore) -> None:
    lost, mine = (FernetVault([Fernet.generate_key().decode()]) for _ in range(2))
    write(store, lambda unit: sealed_life(unit, lost, 1))

    with store.transaction() as unit:
        page = reseal_page(unit, mine, None)
        account = unit.account(an_account().name)

    assert (page.resealed, page.unreadable) == (0, 3)
    assert account is not None
    assert lost.open("access_token", "ada", account.access_token) == "act"
