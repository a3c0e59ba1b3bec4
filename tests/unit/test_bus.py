"""The bus: one thread, one commit for what waits together, and nobody pays for a neighbour's failure."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from adapters.storage.store import SqlStore
from daemon.domain.errors import StaleAttempt, StartRefused, StorageFailed
from daemon.domain.events import as_json
from daemon.domain.post import State
from daemon.domain.reports import ClockTicked, MessagesSent
from daemon.domain.wire import read_request
from tests.core import Call, Core
from tests.fakes.publisher import FakePublisher


@pytest.fixture
def core(tmp_path: Path) -> Iterator[Core]:
    with Core(tmp_path) as found:
        found.media.put("clip.mp4")
        yield found


class Held:
    """Keeps the bus thread busy, so that what is submitted meanwhile is taken as one batch."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._entered = threading.Event()
        self._gate = threading.Event()

    def __enter__(self) -> None:
        self._thread = threading.Thread(target=lambda: self._core.bus.read(self._hold))
        self._thread.start()
        assert self._entered.wait(10)

    def _hold(self, _unit: object) -> None:
        self._entered.set()
        assert self._gate.wait(10)

    def __exit__(self, *_exc: object) -> None:
        self._gate.set()
        self._thread.join(10)


def test_commands_of_one_batch_are_answered_each(core: Core) -> None:
    with Held(core):
        calls = [core.submit("system/ping") for _ in range(50)]

    assert [call.final()["status"] for call in calls] == ["done"] * 50


def test_a_batch_is_executed_in_order(core: Core) -> None:
    post = core.scheduled()
    with Held(core):
        first = core.submit("post/cancel", {"post": post})
        second = core.submit("post/cancel", {"post": post})

    assert first.final()["status"] == "done"
    assert second.final()["error"]["code"] == "already_final"


def test_a_handler_that_fails_answers_internal_and_its_neighbours_run_once(core: Core) -> None:
    # The platform's own check breaks: nobody has foreseen that.
    def broken(*_args: Any) -> Any:
        raise ZeroDivisionError

    core.platform.check_description = broken  # type: ignore[method-assign]
    with Held(core):
        before = core.submit("system/pause", {"reason": "a"})
        bad = core.submit("post/schedule", {"account": "ada", "media": "clip.mp4", "at": "now"})
        after = core.submit("system/resume")

    assert [call.final()["status"] for call in (before, after)] == ["done", "done"]
    assert bad.final()["error"] == {
        "code": "internal", "message": "tokd failed on this command; its log says more", "retryable": True,
    }  # fmt: skip
    assert core.event_types().count("daemon.paused") == 1
    assert core.event_types().count("daemon.resumed") == 1
    assert [len(call.replies) for call in (before, bad, after)] == [1, 1, 1]


def test_a_command_that_failed_unexpectedly_can_be_sent_again_under_its_id(core: Core) -> None:
    def broken(*_args: Any) -> Any:
        raise ZeroDivisionError

    whole, core.platform.check_description = core.platform.check_description, broken  # type: ignore[method-assign]
    assert core.schedule(id="once")["status"] == "rejected"

    core.platform.check_description = whole  # type: ignore[method-assign]

    assert core.schedule(id="once")["status"] == "done"


def test_a_query_that_fails_raises_where_it_was_asked_and_nowhere_else(core: Core) -> None:
    def broken(_unit: object) -> None:
        raise KeyError("mine")

    call = core.submit("system/ping")

    with pytest.raises(KeyError, match="mine"):
        core.bus.read(broken)
    assert call.final()["status"] == "done"


def test_a_report_that_is_refused_raises_where_it_was_asked(core: Core) -> None:
    from daemon.domain.reports import CommitIntended

    with pytest.raises(StaleAttempt):
        core.bus.ask(CommitIntended(core.scheduled(), 7))


def test_every_message_is_settled_once_whatever_became_of_it(core: Core) -> None:
    with Held(core):
        calls = [
            core.submit("system/ping"),
            core.submit("post/cancel", {"post": "p_none"}),
            core.submit("nonsense"),
            core.submit("post/cancel", {"post": 5}),
        ]
    core.settle()

    assert [call.settled for call in calls] == [1, 1, 1, 1]


def test_a_message_is_settled_after_its_commit(core: Core) -> None:
    seen: list[State | None] = []
    post = core.scheduled()

    def settle() -> None:
        other = SqlStore(core.url, core.node)
        other.open()
        with other.transaction() as unit:
            found = unit.post(post)
            seen.append(found.state if found else None)
        other.close()

    request, _ = read_request(
        actor="me", verb="post/cancel", raw=as_json({"id": "x", "args": {"post": post}}).encode(), transport="test",
        received_at=core.clock.now(), settle=settle,
    )  # fmt: skip
    core.bus.submit(request)
    core.settle()

    assert seen == [State.CANCELLED]


def test_work_begins_after_the_commit_that_orders_it(core: Core) -> None:
    seen: list[State] = []
    post = core.scheduled(in_s=0)

    def look() -> None:
        other = SqlStore(core.url, core.node)
        other.open()
        with other.transaction() as unit:
            found = unit.post(post)
            assert found is not None
            seen.append(found.state)
        other.close()

    core.platform.next("creator", look)
    core.run_for(1)

    assert seen == [State.VALIDATING]


def test_asking_a_bus_that_has_stopped_is_an_error_not_a_wait(core: Core) -> None:
    core.stop()

    with pytest.raises(StorageFailed):
        core.bus.ask(ClockTicked())


def test_stopping_twice_and_before_the_start_is_safe(tmp_path: Path) -> None:
    core = Core(tmp_path)
    core.start()
    core.stop()

    assert core.bus.stop(1)


def test_what_was_queued_before_the_stop_is_worked_off(core: Core) -> None:
    calls = [core.submit("system/pause") for _ in range(20)]

    core.stop()

    assert all(call.replies for call in calls)


def test_a_store_that_cannot_be_opened_fails_the_start(tmp_path: Path) -> None:
    (tmp_path / "tokd.db").write_bytes(b"no database" * 100)
    core = Core(tmp_path)

    with pytest.raises(StartRefused):
        core.start()


def test_a_broken_store_ends_the_daemon(core: Core) -> None:
    def broken(_unit: object) -> None:
        raise StorageFailed("the disk is gone")

    with pytest.raises(StorageFailed):
        core.bus.read(broken)
    core.bus.stop(10)

    assert [part for part, _ in core.deaths.found] == ["bus"]


def test_the_timer_is_armed_for_the_next_date(core: Core) -> None:
    core.scheduled(in_s=600)
    core.scheduled(in_s=60)
    core.settle()

    assert core.timer.at is not None
    assert (core.timer.at - core.clock.now()).total_seconds() == 60


def test_an_idle_core_does_not_turn_in_circles(core: Core) -> None:
    core.scheduled(in_s=0, account="ada")
    core.scheduled(in_s=0, account="ada")
    core.send("system/pause")
    core.settle()
    armed = len(core.timer.armings)

    for _ in range(5):
        core.tick()

    assert len(core.timer.armings) <= armed + 1


# -- publishers ----------------------------------------------------------------------------------------------


def test_events_and_states_are_offered_after_the_commit_in_order(tmp_path: Path) -> None:
    with Core(tmp_path, has_broker=True) as core:
        core.media.put("clip.mp4")
        post = core.scheduled()
        core.settle()
        offered = [(message.kind, message.address) for message in core.publisher.offered]

        assert offered[-2:] == [("state", f"post/{post}"), ("event", "post")]
        assert core.bus.read(lambda unit: unit.unsent(0, 99))[-1].row == core.publisher.offered[-1].row


def test_acknowledged_rows_leave_the_outbox(tmp_path: Path) -> None:
    with Core(tmp_path, has_broker=True) as core:
        core.settle()
        rows = tuple(message.row for message in core.bus.read(lambda unit: unit.unsent(0, 99)))

        core.bus.ask(MessagesSent(rows))

        assert core.bus.read(lambda unit: unit.count_unsent()) == 0


def test_a_reply_goes_to_the_transport_it_came_from_only(tmp_path: Path) -> None:
    core = Core(tmp_path, has_broker=True, link=False)
    core.start()
    other = FakePublisher("http", keeps_outbox=False)
    core.bus.add_publisher(other)
    request, _ = read_request(
        actor="me", verb="system/ping", raw=b"", transport="mqtt", received_at=core.clock.now(), reply_to="back",
        correlation=b"\x01",
    )  # fmt: skip

    core.bus.submit(request)
    core.settle()

    replies = [message for message in core.publisher.offered if message.kind == "reply"]
    assert [(message.address, message.correlation) for message in replies] == [("back", b"\x01")]
    assert [message for message in other.offered if message.kind == "reply"] == []
    core.stop()


def test_the_reply_of_a_durable_command_is_in_the_outbox(tmp_path: Path) -> None:
    with Core(tmp_path, has_broker=True) as core:
        request, _ = read_request(
            actor="me", verb="system/pause", raw=b'{"id":"x"}', transport="mqtt", received_at=core.clock.now(),
            reply_to="back",
        )  # fmt: skip
        core.bus.submit(request)
        core.settle()

        kinds = [message.kind for message in core.bus.read(lambda unit: unit.unsent(0, 99))]
        assert "reply" in kinds


def test_several_callers_of_one_accepted_command_are_all_answered(core: Core) -> None:
    core.media.put("new.mp4", checked=False)
    core.media.gate = threading.Event()
    calls: list[Call] = []
    args = {"account": "ada", "media": "new.mp4", "at": "2027-01-01T00:00:00Z", "privacy": "SELF_ONLY"}
    for _ in range(3):
        calls.append(core.submit("post/schedule", args, id="same"))
        calls[-1].first()
    core.media.gate.set()

    assert len({call.final()["result"]["post"] for call in calls}) == 1
    assert len(core.posts()) == 1
