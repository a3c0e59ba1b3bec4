"""Two nodes on one PostgreSQL change the tokens of one account at the same moment: nothing of either is lost."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from sqlalchemy.engine import make_url

from adapters.storage.store import SqlStore
from daemon.domain.account import Login
from daemon.domain.errors import StaleAttempt
from daemon.domain.ids import AccountName, NodeName
from daemon.domain.reports import TokensRefreshed
from tests.core import POLICY, Core
from tests.fakes.platform import Killed
from tests.postgres import PostgresServer
from tests.waiting import wait_until

ADA = AccountName("ada")
_WAITING = "SELECT count(*) FROM pg_locks WHERE NOT granted"


@pytest.fixture
def database(postgres: PostgresServer) -> str:
    return postgres.new_database()


@pytest.fixture
def core(database: str, tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path, url=database, node="left") as found:
        yield found


@pytest.fixture
def other(database: str, core: Core) -> Iterator[SqlStore]:
    store = SqlStore(database, NodeName("right"))
    store.open()
    yield store
    store.close()


def wait_for_a_wait(database: str) -> None:
    """Wait until one transaction waits for another one."""
    name = make_url(database).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(name, autocommit=True) as connection:
        wait_until(lambda: connection.execute(_WAITING).fetchone() != (0,), what="a transaction waits")


def test_a_refresh_that_comes_late_does_not_undo_the_unlink_of_another_node(
    core: Core, other: SqlStore, database: str
) -> None:
    with other.transaction() as unit:
        account = unit.account(ADA, lock=True)
        assert account is not None
        unit.save_account(replace(account, login=Login.UNLINKED, token_version=account.token_version + 1))
        late = core.bus.promise(TokensRefreshed(ADA, account.token_version, "late", "late"))
        wait_for_a_wait(database)

    with pytest.raises(StaleAttempt):
        late.result(20)
    assert core.account().login is Login.UNLINKED


def test_an_unlink_of_a_node_that_died_for_good_is_finished_by_the_other_one(
    database: str, tmp_path: Path
) -> None:
    with Core(tmp_path / "left", url=database, node="left") as left:
        left.platform.script["revoke"].append(Killed())
        left.submit("account/unlink", {"account": "ada"})
        wait_until(lambda: left.deaths.found)
        shared = {"clock": left.clock, "platform": left.platform, "vault": left.vault}
        with Core(tmp_path / "right", url=database, node="right", link=False, **shared) as right:  # type: ignore[arg-type]
            assert right.refusal("account/link", {"account": "ada"})["code"] == "busy"
            right.clock.advance(POLICY.refresh_lease_s + 1)

            right.sweep()

            assert (right.account().login, right.account().access_token) == (Login.UNLINKED, "")
            assert [event["source"] for event in right.events("account.unlinked")] == ["tokd/right"]


def test_an_unlink_gives_back_the_tokens_that_another_node_has_just_renewed(
    core: Core, other: SqlStore, database: str
) -> None:
    with other.transaction() as unit:
        account = unit.account(ADA, lock=True)
        assert account is not None
        renewed = {name: core.vault.seal(name, ADA, "renewed") for name in ("access_token", "refresh_token")}
        unit.save_account(replace(account, token_version=account.token_version + 1, **renewed))  # type: ignore[arg-type]
        order = core.submit("account/unlink", {"account": "ada"})
        wait_for_a_wait(database)

    assert order.final()["status"] == "done"
    assert [argument for method, argument in core.platform.calls if method == "revoke"][-1] == "renewed"
