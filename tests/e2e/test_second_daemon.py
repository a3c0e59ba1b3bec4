"""One daemon for a state folder, refused starts, and stops in the middle of something."""

import hashlib
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.brokers import Listener, free_port
from tests.daemons import Daemon, make_clip
from tests.e2e.stage import SMALL_CHUNKS, Stage, staged
from tests.waiting import wait_until

AVAILABILITY = "tokd/v1/main/availability"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("second"), SMALL_CHUNKS, with_broker=True) as found:
        make_clip(found.daemon.media / "four.mp4", pad_to=21_000_000)
        make_clip(found.daemon.media / "clip.mp4")
        yield found


def _twin(stage: Stage) -> Daemon:
    """Return a daemon with the same settings on the same state folder, with a log of its own."""
    twin = Daemon(stage.daemon.folder, stage.daemon.settings)
    twin.log = stage.folder / f"twin-{os.urandom(4).hex()}.log"
    return twin


def test_second_daemon_on_one_state_folder_is_refused_at_once(stage: Stage) -> None:
    twin = _twin(stage)
    twin.start(wait=False)
    assert twin.wait_dead(10) == 78
    assert stage.daemon.process is not None
    assert f"pid {stage.daemon.process.pid}" in twin.tail()
    assert str(stage.daemon.state_dir) in twin.tail()


def test_refused_daemon_takes_nothing_from_the_first(stage: Stage) -> None:
    with Listener(stage.broker, AVAILABILITY) as listener:
        listener.wait_for(AVAILABILITY, b"online")
        twin = _twin(stage)
        twin.start(wait=False)
        twin.wait_dead(10)
        assert stage.is_alive()  # through the socket that is still its own
        assert b"offline" not in listener.on(AVAILABILITY)
    name = stage.account()
    stage.assert_published_once(stage.schedule(name), name)


def test_lock_of_a_killed_daemon_stops_nobody(stage: Stage) -> None:
    stage.daemon.kill()
    stage.daemon.start()
    assert stage.is_alive()


def test_configuration_with_five_mistakes_lists_all_of_them(tmp_path: Path) -> None:
    (tmp_path / "tokd.toml").write_text(
        '[daemon]\nworkers = 0\n[mqtt]\nhots = "localhost"\nport = 99999\n'
        '[tiktok]\napi_base = "http://open.tiktokapis.com"\n[posts]\nlate_policy = "perhaps"\n'
    )
    daemon = Daemon(tmp_path)
    daemon.start(wait=False)
    assert daemon.wait_dead(10) == 78
    told = daemon.tail()
    for word in ("daemon.workers", "mqtt.hots", "mqtt.port", "tiktok.api_base", "posts.late_policy"):
        assert word in told, told
    assert 'did you mean "host"' in told
    assert not daemon.state_dir.exists()


def test_unwritable_state_folder_is_refused_with_its_name(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    daemon = Daemon(tmp_path)
    daemon.start(wait=False)
    assert daemon.wait_dead(10) == 78
    assert str(tmp_path / "state") in daemon.tail()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_ends_the_daemon_with_0_and_offline(stage: Stage, number: signal.Signals) -> None:
    with Listener(stage.broker, AVAILABILITY) as listener:
        listener.wait(lambda: listener.on(AVAILABILITY)[-1:] == [b"online"])
        assert stage.daemon.process is not None
        stage.daemon.process.send_signal(number)
        assert stage.daemon.wait_dead(15) == 0
        listener.wait(lambda: listener.on(AVAILABILITY)[-1:] == [b"offline"])
    assert not (stage.daemon.state_dir / "control.sock").exists()
    stage.daemon.start()


def test_two_signals_do_not_hurt(stage: Stage) -> None:
    assert stage.daemon.process is not None
    stage.daemon.process.send_signal(signal.SIGTERM)
    stage.daemon.process.send_signal(signal.SIGTERM)
    assert stage.daemon.wait_dead(15) == 0
    stage.daemon.start()


def _upload_slowly(stage: Stage) -> tuple[str, str]:
    """Begin an upload of four chunks, half a second each, and return when two of them are stored."""
    name = stage.account()
    stage.fault(name, "upload", "slow", seconds=0.5, times=None)
    post = stage.schedule(name, media="four.mp4")
    wait_until(lambda: len(stage.seen("ranges", name)) == 2, 20, what="two chunks stored")
    return name, post


def test_stop_in_mid_upload_ends_at_a_chunks_border_and_the_next_start_sends_the_rest(stage: Stage) -> None:
    name, post = _upload_slowly(stage)
    assert stage.daemon.stop() == 0
    sent = stage.seen("ranges", name)
    assert [entry["status"] for entry in sent] == [206] * len(sent)  # none was broken off
    assert len(sent) < 4
    stage.daemon.start()
    found = stage.assert_published_once(post, name)
    ranges = [(entry["first"], entry["status"]) for entry in stage.seen("ranges", name)]
    assert ranges == [(0, 206), (5_000_000, 206), (10_000_000, 206), (15_000_000, 201)]
    assert found["attempt"] == 1
    content = (stage.daemon.media / "four.mp4").read_bytes()
    assert stage.seen("files", name)[0]["sha256"] == hashlib.sha256(content).hexdigest()
    started = [event["data"] for event in stage.post_events(post) if event["type"].endswith("started")]
    assert started[-1]["resumed"] is True


def test_kill_in_mid_upload_costs_no_second_init(stage: Stage) -> None:
    name, post = _upload_slowly(stage)
    stage.daemon.kill()
    stage.daemon.start()
    stage.assert_published_once(post, name)


def test_stop_while_a_post_is_processed_goes_on_reading_after_the_start(stage: Stage) -> None:
    name = stage.account()
    stage.fault(name, "init", "stuck")
    post = stage.schedule(name)
    publish_id = stage.daemon.wait_state(post, "processing")["publish_id"]
    assert stage.daemon.stop() == 0
    stage.simulator.post(f"posts/{publish_id}", {"status": "PUBLISH_COMPLETE"})
    stage.daemon.start()
    stage.assert_published_once(post, name)


def test_post_that_became_due_while_the_daemon_was_down_goes_out_at_the_start(stage: Stage) -> None:
    name = stage.account()
    post = stage.schedule(name, draft=True, at=None)
    stage.daemon.call("system/pause")
    stage.daemon.call("post/publish_now", {"post": post}, id=f"down-{post}")
    stage.daemon.wait_state(post, "held")
    stage.daemon.call("system/resume")
    stage.daemon.kill()
    stage.daemon.start()
    stage.assert_published_once(post, name)


# -- the broker child ----------------------------------------------------------------------------------------


@pytest.fixture
def housed(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon with a broker of its own, as the first run has it."""
    daemon = Daemon(tmp_path, {"broker.port": str(free_port())})
    daemon.options = ("--with-broker", "--simulate")
    yield daemon
    daemon.stop()
    daemon.kill()


def _children(pid: int) -> set[int]:
    found = set()
    for task in Path(f"/proc/{pid}/task").iterdir():
        found |= {int(child) for child in (task / "children").read_text().split()}
    return found


def test_second_start_beside_a_running_broker_child_is_refused_and_leaves_it_alone(housed: Daemon) -> None:
    housed.start()
    assert housed.process is not None
    children = _children(housed.process.pid)
    assert len(children) >= 2  # mosquitto and the simulator
    twin = Daemon(housed.folder, housed.settings)
    twin.options, twin.log = housed.options, housed.folder / "twin.log"
    twin.start(wait=False)
    assert twin.wait_dead(10) == 78
    assert _children(housed.process.pid) == children
    parts = housed.call("system/health")["result"]["parts"]
    assert {name: part["ok"] for name, part in parts.items()} == {
        "bus": True,
        "mqtt": True,
        "simulator": True,
    }


def test_stop_ends_the_children_too(housed: Daemon) -> None:
    housed.start()
    assert housed.process is not None
    children = _children(housed.process.pid)
    assert housed.stop() == 0
    wait_until(lambda: not any(Path(f"/proc/{child}").exists() for child in children), 5)


def test_kill_ends_the_children_too_and_the_next_start_has_the_same_addresses(housed: Daemon) -> None:
    housed.start()
    assert housed.process is not None
    children = _children(housed.process.pid)
    port = (housed.state_dir / "simulator" / "port").read_text()
    housed.kill()
    wait_until(lambda: not any(_runs(child) for child in children), 5)
    housed.start()
    assert (housed.state_dir / "simulator" / "port").read_text() == port
    wait_until(lambda: "demo" in json.dumps(housed.call("account/list")["result"]), 10)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
