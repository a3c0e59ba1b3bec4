"""The control socket: real Unix sockets, a real server thread, a bus that answers as told."""

import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adapters.control import ControlClient, ControlRefused, DaemonNotRunning, NoFinalAnswer
from adapters.control.lines import MAX_LINE
from adapters.control.place import connect
from adapters.control.room import MAX_VISITORS
from adapters.control.visitor import MAX_EVENTS
from daemon.domain.errors import StartRefused
from daemon.domain.wire import MAX_BYTES, Request
from tests.brokers import eventually
from tests.integration.control_stage import Stage, Wire, folder, stage

__all__ = ["folder", "stage"]

PING = {"call": "system/ping", "envelope": {}}
ORDER = {"account": "demo", "url": "https://v.example/a.mp4", "at": "now"}


def done(result: dict[str, Any]) -> Any:
    return lambda _request: [{"status": "done", "result": result}]


# -- calls ---------------------------------------------------------------------------------------------------


def test_a_call_is_answered_on_its_connection(stage: Stage) -> None:
    stage.bus.reply_with = done({"pong": True})

    with stage.connect() as wire:
        reply = wire.ask(PING)["reply"]

    assert (reply["status"], reply["result"], reply["final"]) == ("done", {"pong": True}, True)


def test_a_call_comes_from_the_actor_local_through_control(stage: Stage) -> None:
    with stage.connect() as wire:
        wire.ask(PING)

    (request,) = stage.bus.requests
    assert (request.actor, request.transport, request.verb) == ("local", "control", "system/ping")


def test_a_call_may_name_another_actor(stage: Stage) -> None:
    with stage.connect() as wire:
        wire.ask(PING | {"actor": "cron"})

    assert stage.bus.requests[0].actor == "cron"


@pytest.mark.parametrize("actor", ["_self", "a/b", "", "+", 7, None])
def test_a_name_that_cannot_be_an_actor_is_refused(stage: Stage, actor: object) -> None:
    with stage.connect() as wire:
        error = wire.ask(PING | {"actor": actor})["error"]

    assert (error["code"], error["field"], stage.bus.requests) == ("bad_field", "actor", [])


def test_a_long_command_gets_two_replies(stage: Stage) -> None:
    stage.bus.reply_with = lambda _request: [
        {"status": "accepted"},
        {"status": "done", "result": {"post": "p_1"}},
    ]

    with stage.connect() as wire:
        first = wire.ask({"call": "post/schedule", "envelope": {"id": "a1", "args": ORDER}})["reply"]
        second = wire.receive()["reply"]

    assert [first["final"], second["final"], second["id"]] == [False, True, "a1"]


def test_a_connection_serves_one_call_after_the_other(stage: Stage) -> None:
    with stage.connect() as wire:
        commands = [wire.ask(PING)["reply"]["command"], wire.ask({"call": "post/list"})["reply"]["command"]]

    assert commands == ["system.ping", "post.list"]


def test_a_second_call_waits_for_the_final_reply_of_the_first(stage: Stage) -> None:
    stage.bus.reply_with = lambda _request: []

    with stage.connect() as wire:
        wire.send(PING)
        wire.send(PING)
        (first,) = stage.bus.wait_for_requests(1)
        stage.bus.answer(first, {"status": "accepted"})
        wire.receive()
        seen_before = len(stage.bus.requests)
        stage.bus.answer(first, {"status": "done", "result": {}})

        assert (seen_before, len(stage.bus.wait_for_requests(2))) == (1, 2)


def test_a_line_may_come_in_pieces(stage: Stage) -> None:
    with stage.connect() as wire:
        wire.send(b'{"call": "system')
        wire.send(b'/ping", "envel')

        assert wire.ask(b'ope": {}}\n')["reply"]["final"]


def test_a_caller_that_closes_its_side_still_gets_its_reply(stage: Stage) -> None:
    stage.bus.reply_with = lambda _request: []

    with stage.connect() as wire:
        wire.send(PING)
        wire.sock.shutdown(socket.SHUT_WR)
        (request,) = stage.bus.wait_for_requests(1)
        stage.bus.answer(request, {"status": "done", "result": {}})

        assert wire.receive()["reply"]["final"]
        assert wire.is_closed()


def test_a_reply_to_a_caller_who_has_left_harms_nobody(stage: Stage) -> None:
    stage.bus.reply_with = lambda _request: []
    with stage.connect() as wire:
        wire.send(PING)
        (request,) = stage.bus.wait_for_requests(1)

    stage.bus.answer(request, {"status": "done", "result": {}})

    stage.bus.reply_with = done({})
    with stage.connect() as wire:
        assert wire.ask(PING)["reply"]["final"]


def test_an_account_may_be_imported_here(stage: Stage) -> None:
    args = {"account": "shop", "access_token": "act.1", "refresh_token": "rft.1", "open_id": "o"}

    with stage.connect() as wire:
        reply = wire.ask({"call": "account/import", "envelope": {"args": args}})["reply"]

    assert reply["status"] == "done"


# -- bad lines -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "code"),
    [
        pytest.param(b"{\n", "bad_json", id="cut short"),
        pytest.param(b"[]\n", "bad_json", id="no object"),
        pytest.param(b"\xff\n", "bad_json", id="no UTF-8"),
        pytest.param(b'{"call": "system/ping", "call": "system/pause"}\n', "bad_json", id="a key twice"),
        pytest.param(b"[" * 60_000 + b"\n", "bad_json", id="deep nesting"),
        pytest.param(b'{"call": "system/ping", "envelop": {}}\n', "unknown_field", id="unknown field"),
        pytest.param(b"{}\n", "unknown_field", id="neither call nor watch"),
        pytest.param(b'{"call": 7}\n', "bad_field", id="a verb that is no text"),
        pytest.param(b'{"watch": {"after": -1}}\n', "bad_field", id="a negative position"),
        pytest.param(b'{"watch": []}\n', "bad_field", id="a watch that is no object"),
    ],
)
def test_a_broken_line_gets_a_named_error(stage: Stage, line: bytes, code: str) -> None:
    with stage.connect() as wire:
        assert wire.ask(line)["error"]["code"] == code


def test_a_connection_survives_a_broken_line(stage: Stage) -> None:
    with stage.connect() as wire:
        wire.ask(b"nonsense\n")

        assert wire.ask(PING)["reply"]["final"]


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        pytest.param({"args": {"x": float("nan")}}, "bad_json", id="NaN"),
        pytest.param({"args": {"title": "a\0b"}}, "bad_json", id="NUL"),
        pytest.param({"args": {"title": "x" * MAX_BYTES}}, "too_large", id="too large"),
        pytest.param([], "bad_json", id="no object"),
        pytest.param({"arg": {}}, "unknown_field", id="unknown field"),
    ],
)
def test_a_bad_envelope_is_refused_in_a_reply(stage: Stage, envelope: object, code: str) -> None:
    with stage.connect() as wire:
        reply = wire.ask({"call": "system/ping", "envelope": envelope})["reply"]

    assert (reply["status"], reply["error"]["code"]) == ("rejected", code)


def test_a_line_of_ten_megabytes_is_refused_once_and_skipped(stage: Stage) -> None:
    with stage.connect() as wire:
        error = wire.ask(b'{"call": "' + b"x" * 10_000_000 + b'"}\n')["error"]

        assert error["code"] == "too_large"
        assert wire.ask(PING)["reply"]["final"]


def test_the_longest_command_fits_into_a_line(stage: Stage) -> None:
    filler = "x" * (MAX_BYTES - len('{"args":{"reason":""}}'))

    with stage.connect() as wire:
        reply = wire.ask({"call": "system/pause", "envelope": {"args": {"reason": filler}}})["reply"]

    assert reply["error"]["code"] == "bad_field"  # too long a reason, and no longer a line than is allowed
    assert MAX_LINE > MAX_BYTES


# -- watching ------------------------------------------------------------------------------------------------


def sequences(wire: Wire, count: int) -> list[int]:
    return [int(wire.receive()["event"]["sequence"]) for _ in range(count)]


def test_a_watcher_sees_events_from_now_on(stage: Stage) -> None:
    stage.bus.emit()

    with stage.connect() as wire:
        assert wire.ask({"watch": {}}) == {"watching": {"after": 1}}
        stage.bus.emit()

        assert sequences(wire, 1) == [2]


def test_a_watcher_sees_only_events(stage: Stage) -> None:
    with stage.connect() as wire:
        wire.ask({"watch": {}})
        stage.bus.store("state", "post/p_1", "{}")
        stage.bus.store("reply", "reply/me/x", "{}")
        stage.bus.emit()

        assert sequences(wire, 1) == [1]


def test_a_watcher_with_a_position_gets_the_past_first(stage: Stage) -> None:
    for _ in range(5):
        stage.bus.emit()

    with stage.connect() as wire:
        wire.ask({"watch": {"after": 2}})

        assert sequences(wire, 3) == [3, 4, 5]


def test_a_long_past_is_read_in_pages_without_a_gap(stage: Stage) -> None:
    for _ in range(2_345):
        stage.bus.emit()

    with stage.connect() as wire:
        wire.ask({"watch": {"after": 0}})

        assert sequences(wire, 2_345) == list(range(1, 2_346))


def test_events_that_happen_during_the_replay_come_once_and_in_order(stage: Stage) -> None:
    for _ in range(450):
        stage.bus.emit()
    stage.bus.before_read = lambda: stage.bus.emit() and None

    with stage.connect() as wire:
        wire.ask({"watch": {"after": 0}})
        found = sequences(wire, 450)
        stage.bus.before_read = None
        latest = stage.bus.emit()
        found += sequences(wire, latest - 450)

    assert found == list(range(1, latest + 1))


def test_a_position_from_another_database_means_from_now_on(stage: Stage) -> None:
    with stage.connect() as wire:
        assert wire.ask({"watch": {"after": 99}}) == {"watching": {"after": 0}}


def test_a_slow_watcher_is_dropped_and_the_others_go_on(stage: Stage) -> None:
    with stage.connect() as slow, stage.connect() as quick:
        slow.ask({"watch": {}})
        quick.ask({"watch": {}})
        for _ in range(MAX_EVENTS * 4):
            stage.bus.emit(title="x" * 2_000)
            sequences(quick, 1)

        assert slow.is_closed()
        assert [stage.bus.emit()] == sequences(quick, 1)


def test_a_client_that_was_dropped_reads_on_where_it_stopped(stage: Stage) -> None:
    events = ControlClient(stage.path).watch(0)
    stage.bus.emit()
    first = next(events)
    for _ in range(MAX_EVENTS * 4):
        stage.bus.emit(title="x" * 2_000)

    found = [int(first["sequence"])] + [int(next(events)["sequence"]) for _ in range(MAX_EVENTS * 4)]

    assert found == list(range(1, MAX_EVENTS * 4 + 2))


def test_a_failing_read_ends_the_watch_and_not_the_server(stage: Stage) -> None:
    def fail() -> None:
        raise RuntimeError("no database")

    with stage.connect() as wire:
        stage.bus.before_read = fail
        error = wire.ask({"watch": {"after": 0}})["error"]

        assert error["code"] == "internal"
        assert wire.is_closed()
    with stage.connect() as wire:
        assert wire.ask(PING)["reply"]["final"]


# -- who may come in -----------------------------------------------------------------------------------------


def test_the_socket_is_for_its_owner_only(stage: Stage) -> None:
    assert stat.S_IMODE(stage.path.stat().st_mode) == 0o600


def test_a_missing_folder_is_made_for_its_owner_only(stage: Stage) -> None:
    server = stage.make(stage.folder / "new" / "control.sock")

    server.start()

    assert stat.S_IMODE((stage.folder / "new").stat().st_mode) == 0o700
    server.stop()


def test_a_folder_that_anybody_may_write_to_is_refused(stage: Stage) -> None:
    (stage.folder / "open").mkdir()
    (stage.folder / "open").chmod(0o777)

    with pytest.raises(StartRefused, match="chmod o-w"):
        stage.make(stage.folder / "open" / "control.sock").start()


def as_another_user(look: Callable[[], str]) -> str:
    """Return what a child of ours sees that has become `nobody`."""
    receiver, sender = os.pipe()
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        os.write(sender, look().encode())
        os._exit(0)
    os.close(sender)
    os.waitpid(child, 0)
    with os.fdopen(receiver) as stream:
        return stream.read()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
def test_another_user_is_turned_away(stage: Stage) -> None:
    stage.folder.chmod(0o755)
    stage.path.chmod(0o666)

    found = as_another_user(lambda: stage.connect().receive()["error"]["code"])

    assert found == "forbidden"


def test_one_client_too_many_is_told_so(stage: Stage) -> None:
    wires = [stage.connect() for _ in range(MAX_VISITORS)]
    for wire in wires:
        wire.ask(PING)

    with stage.connect() as last:
        error = last.receive()["error"]

    assert (error["code"], error["retryable"]) == ("busy", True)
    for wire in wires:
        wire.sock.close()


def test_a_place_is_free_again_when_a_client_leaves(stage: Stage) -> None:
    for _ in range(MAX_VISITORS * 3):
        with stage.connect() as wire:
            wire.ask(PING)

    with stage.connect() as wire:
        assert wire.ask(PING)["reply"]["final"]


# -- starting and stopping -----------------------------------------------------------------------------------


def test_a_stale_socket_is_replaced(folder: Path) -> None:
    stage = Stage(folder)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(stage.path))

    stage.server.start()

    with stage.connect() as wire:
        assert wire.ask(PING)["reply"]["final"]
    stage.server.stop()


def test_a_socket_that_somebody_answers_on_is_left_alone(stage: Stage) -> None:
    with pytest.raises(StartRefused, match="another tokd answers"):
        stage.make().start()

    with stage.connect() as wire:
        assert wire.ask(PING)["reply"]["final"]


def test_a_file_in_the_way_is_left_alone(folder: Path) -> None:
    stage = Stage(folder)
    stage.path.write_text("precious")

    with pytest.raises(StartRefused, match="no socket"):
        stage.server.start()

    assert stage.path.read_text() == "precious"


@pytest.mark.parametrize("name", ["x" * 200])
def test_a_path_that_is_too_long_for_an_address_works(stage: Stage, name: str) -> None:
    path = stage.folder / name / name / "control.sock"
    server = stage.make(path)

    server.start()

    assert list(ControlClient(path).call("system/ping", {}))[-1]["status"] == "done"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    server.stop()


def test_a_live_server_on_a_long_path_is_found(stage: Stage) -> None:
    path = stage.folder / ("y" * 150) / "control.sock"
    server = stage.make(path)
    server.start()

    with pytest.raises(StartRefused, match="another tokd answers"):
        stage.make(path).start()

    server.stop()


def test_stopping_removes_the_socket_and_cuts_the_clients(stage: Stage) -> None:
    with stage.connect() as wire:
        wire.ask(PING)

        stage.server.stop()

        assert wire.is_closed()
    assert not stage.path.exists()


def test_stopping_twice_or_before_start_does_nothing(folder: Path) -> None:
    stage = Stage(folder)
    stage.server.stop()
    stage.server.start()
    stage.server.stop()

    stage.server.stop()

    assert not stage.server.is_alive()


def test_a_stopped_server_leaves_its_successor_alone(stage: Stage) -> None:
    stage.path.unlink()
    successor = stage.make()
    successor.start()

    stage.server.stop()

    with stage.connect() as wire:
        assert wire.ask(PING)["reply"]["final"]
    successor.stop()


def test_an_unexpected_death_is_reported(folder: Path) -> None:
    stage = Stage(folder)
    stage.bus.on_submit = lambda _request: 1 / 0
    stage.server.start()

    with stage.connect() as wire:
        wire.send(PING)
        assert wire.is_closed()

    eventually(lambda: stage.supervisor.deaths)
    ((part, error),) = stage.supervisor.deaths
    assert (part, type(error)) == ("control", ZeroDivisionError)
    stage.server.stop()


# -- the client ----------------------------------------------------------------------------------------------


def test_a_client_without_a_daemon_says_what_to_do(folder: Path) -> None:
    path = folder / "control.sock"

    with pytest.raises(DaemonNotRunning, match=rf"{path}.*start it with `tokd run`"):
        list(ControlClient(path).call("system/ping", {}))


def test_a_client_yields_replies_until_the_final_one(stage: Stage) -> None:
    stage.bus.reply_with = lambda _request: [{"status": "accepted"}, {"status": "done", "result": {}}]

    found = list(ControlClient(stage.path).call("post/schedule", {"id": "a", "args": ORDER}))

    assert [reply["status"] for reply in found] == ["accepted", "done"]


def test_a_client_raises_what_the_server_said_of_its_line(stage: Stage) -> None:
    with pytest.raises(ControlRefused, match="bad_field"):
        list(ControlClient(stage.path, actor="_self").call("system/ping", {}))


def test_a_client_gives_up_when_no_answer_comes(stage: Stage) -> None:
    stage.bus.reply_with = lambda _request: []

    with pytest.raises(NoFinalAnswer, match=r"same id \(a7\)"):
        list(ControlClient(stage.path).call("system/pause", {"id": "a7"}, timeout_s=0.05))


def cut_first(stage: Stage) -> None:
    """Let the daemon end at the first command and come back for the second."""

    def reply(request: Request) -> list[dict[str, Any]]:
        if len(stage.bus.requests) > 1:
            return [{"status": "done", "result": {"try": len(stage.bus.requests)}}]
        threading.Thread(target=restart).start()
        return [{"status": "accepted"}]

    def restart() -> None:
        stage.server.stop()
        stage.server = stage.make()
        stage.server.start()

    stage.bus.reply_with = reply


def test_a_durable_command_is_sent_again_with_the_same_id_after_a_restart(stage: Stage) -> None:
    cut_first(stage)

    found = list(ControlClient(stage.path).call("post/schedule", {"id": "a9", "args": ORDER}))

    assert found[-1]["result"] == {"try": 2}
    assert [request.id for request in stage.bus.requests] == ["a9", "a9"]
    stage.server.stop()


def test_a_durable_command_without_an_id_is_never_sent_twice(stage: Stage) -> None:
    cut_first(stage)

    with pytest.raises(NoFinalAnswer, match="without an id"):
        list(ControlClient(stage.path).call("system/pause", {}))

    assert len(stage.bus.requests) == 1
    eventually(lambda: stage.server.is_alive() and stage.path.exists())
    stage.server.stop()


def test_a_watching_client_goes_on_after_a_restart_without_a_gap(stage: Stage) -> None:
    events = ControlClient(stage.path).watch(0)
    stage.bus.emit()
    found = [next(events)]
    stage.server.stop()
    stage.bus.emit()
    stage.server = stage.make()
    stage.server.start()

    found.append(next(events))

    assert [event["sequence"] for event in found] == ["00000001", "00000002"]
    events.close()  # type: ignore[attr-defined]
    stage.server.stop()


def test_connect_leaves_no_descriptor_behind_when_nobody_answers(folder: Path) -> None:
    (folder / ("z" * 120)).mkdir()
    before = len(list(Path("/proc/self/fd").iterdir()))

    with pytest.raises(FileNotFoundError):
        connect(folder / ("z" * 120) / "control.sock", 1.0)

    assert len(list(Path("/proc/self/fd").iterdir())) == before
