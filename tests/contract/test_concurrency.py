"""Several connections at once: nodes that claim, writers that count, a disk that is full."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from adapters.storage.store import SqlStore
from daemon.domain.errors import StorageFull
from daemon.domain.events import Event, EventType
from daemon.domain.ids import AccountName, NodeName
from daemon.domain.post import State
from tests.fakes.values import NODE, NOW, a_post, an_account, an_address_post

LEASE = NOW + timedelta(minutes=10)
ROUNDS = 50
WRITERS = 8
CHANGES = 200


def together(actions: list[Callable[[], Any]]) -> list[BaseException]:
    """Run the actions in a thread each, begun at one moment; return what they raised."""
    errors: list[BaseException] = []
    start = threading.Barrier(len(actions))

    def run(action: Callable[[], Any]) -> None:
        start.wait(10)
        try:
            action()
        except BaseException as error:  # noqa: BLE001 - shown by the caller's assertion
            errors.append(error)

    threads = [threading.Thread(target=run, args=(action,)) for action in actions]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return errors


def claimer(store: SqlStore, found: list[tuple[str, int]]) -> Callable[[], None]:
    def claim() -> None:
        with store.transaction() as unit:
            found.extend((str(key), fence) for key, fence in unit.claim_due(NOW, LEASE, 100))

    return claim


def test_two_nodes_never_claim_the_same_post_or_account(open_store: Callable[..., SqlStore]) -> None:
    """Each round every account has posts that both nodes may take, and files of the one and of the other."""
    stores = [open_store("main"), open_store("other")]
    accounts = [f"a{number}" for number in range(6)]
    with stores[0].transaction() as unit:
        for name in accounts:
            unit.save_account(an_account(name))
    for round_ in range(ROUNDS):
        with stores[0].transaction() as unit:
            for name in accounts:
                # In every other round both nodes want the same post, else each wants a file of its own.
                account, due_at = AccountName(name), NOW - timedelta(seconds=2 * (round_ % 2))
                unit.add_post(an_address_post(f"p_{round_}_{name}_url", account=account, due_at=due_at))
                for node in ("main", "other"):
                    own = {"node": NodeName(node), "due_at": NOW - timedelta(seconds=1)}
                    unit.add_post(a_post(f"p_{round_}_{name}_{node}", account=account, **own))
        claims: list[list[tuple[str, int]]] = [[], []]

        errors = together([claimer(store, found) for store, found in zip(stores, claims, strict=True)])

        assert errors == []
        keys = [key for found in claims for key, _ in found]
        taken = [key.split("_")[2] for key in keys]
        assert len(set(keys)) == len(keys)
        assert len(set(taken)) == len(taken)
        assert set(taken) == set(accounts), "an account was left out although it was free"
        with stores[0].transaction() as unit:
            for post in unit.posts(None, None, None, 1000)[0]:
                if post.state in {State.CLAIMED, State.SCHEDULED}:
                    unit.save_post(_done(post))


def _done(post: Any) -> Any:
    return a_post(post.id, version=post.version + 1, fence=post.fence, state=State.CANCELLED, finished_at=NOW)


def test_a_post_that_another_node_has_just_moved_is_not_claimed_early(
    open_store: Callable[..., SqlStore],
) -> None:
    main, other = open_store("main"), open_store("other")
    later = NOW + timedelta(hours=1)
    with main.transaction() as unit:
        unit.save_account(an_account())
        unit.add_post(an_address_post())
    with main.transaction() as unit:
        unit.save_post(an_address_post(version=2, due_at=later, wake_at=later))

    with other.transaction() as unit:
        assert unit.claim_due(NOW, LEASE, 9) == []


@pytest.mark.parametrize("migrated", ["migrated_file"])
def test_eight_writers_lose_no_change(tmp_path: Path, migrated: str, request: pytest.FixtureRequest) -> None:
    path = tmp_path / "tokd.db"
    path.write_bytes(request.getfixturevalue(migrated).read_bytes())
    url = f"sqlite:///{path}"

    def write() -> None:
        store = SqlStore(url, NODE)
        store.open()
        for _ in range(CHANGES):
            with store.transaction() as unit:
                unit.set_flag("counter", str(int(unit.flag("counter") or 0) + 1))
        store.close()

    errors = together([write] * WRITERS)

    assert errors == []
    store = SqlStore(url, NODE)
    store.open()
    with store.transaction() as unit:
        assert unit.flag("counter") == str(WRITERS * CHANGES)
    store.close()


# -- a full disk ---------------------------------------------------------------------------------------------


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of one megabyte; needs root, as the whole set does in its container."""
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", folder], check=True)


def fill(folder: Path) -> None:
    with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as file:
        while True:
            file.write(b"0" * 4096)


def add_events(store: SqlStore, count: int) -> None:
    with store.transaction() as unit:
        for _ in range(count):
            unit.add_event(Event(EventType.POST_STARTED, "post/p_1", NOW, {"text": "x" * 1000}))


def fill_with_events(store: SqlStore) -> None:
    for _ in range(100):
        add_events(store, 20)


def test_a_full_disk_stores_nothing_and_the_store_works_again_when_there_is_room(small_disk: Path) -> None:
    store = SqlStore(f"sqlite:///{small_disk / 'tokd.db'}", NODE)
    store.open()
    try:
        add_events(store, 3)
        fill(small_disk)

        with pytest.raises(StorageFull):
            add_events(store, 100)
        with pytest.raises(StorageFull):
            add_events(store, 100)
        (small_disk / "ballast").unlink()
        add_events(store, 2)

        with store.transaction() as unit:
            assert unit.last_sequence() == 5
    finally:
        store.close()


def test_a_full_disk_can_still_be_read(small_disk: Path) -> None:
    store = SqlStore(f"sqlite:///{small_disk / 'tokd.db'}", NODE)
    store.open()
    try:
        add_events(store, 3)
        fill(small_disk)
        with pytest.raises(StorageFull):
            add_events(store, 100)

        with store.transaction() as unit:
            assert unit.last_sequence() == 3
    finally:
        store.close()


def test_a_commit_that_fails_for_want_of_room_leaves_nothing_half_done(small_disk: Path) -> None:
    store = SqlStore(f"sqlite:///{small_disk / 'tokd.db'}", NODE)
    store.open()
    try:
        with pytest.raises(StorageFull):
            fill_with_events(store)
        with store.transaction() as unit:
            assert unit.last_sequence() % 20 == 0
            assert len(unit.events_after(0, 10_000)) == unit.last_sequence()
    finally:
        store.close()
