"""The broker that `tokd run --with-broker` starts."""

import os
import socket
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from adapters.broker import MosquittoChild
from adapters.broker.files import Guest
from daemon.domain.errors import AdapterFailed
from tests.brokers import eventually, find, free_port

ROOT = Path(__file__).parents[2]
PING = "tokd/v1/main/cmd/me/system/ping"


def make(folder: Path, port: int, command: str = "mosquitto") -> MosquittoChild:
    return MosquittoChild(folder, port, command, "main", "tokd", ("me", "panel"))


@pytest.fixture
def child(tmp_path: Path) -> Iterator[MosquittoChild]:
    child = make(tmp_path, free_port())
    child.start()
    yield child
    child.stop()


def run(child: MosquittoChild, user: str, program: str, *args: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [find(program), *args],
        env={"PATH": os.environ["PATH"], "XDG_CONFIG_HOME": str(child.client_folder(user))},
        capture_output=True,
        text=True,
        timeout=10,
        check=False,
    )


def test_it_accepts_connections_when_start_returns(child: MosquittoChild) -> None:
    with socket.create_connection((child.host, child.port), 1):
        assert child.is_alive()


def test_the_client_folder_lets_mosquitto_pub_in_without_a_password_in_argv(child: MosquittoChild) -> None:
    assert run(child, "me", "mosquitto_pub", "-q", "1", "-t", PING, "-m", "{}").returncode == 0


def test_the_client_folder_works_for_mosquitto_rr(child: MosquittoChild) -> None:
    reply = "tokd/v1/main/reply/me/cli"

    done = run(child, "me", "mosquitto_rr", "-d", "-t", PING, "-e", reply, "-m", "{}", "-W", "1")

    assert "received CONNACK (0)" in done.stdout


def test_nobody_comes_in_without_a_password(child: MosquittoChild) -> None:
    done = subprocess.run(
        [find("mosquitto_pub"), "-p", str(child.port), "-t", PING, "-m", "{}"],
        capture_output=True, text=True, timeout=10, check=False,
    )  # fmt: skip

    assert "ot authorised" in done.stderr


def test_an_actor_cannot_send_commands_as_another(child: MosquittoChild) -> None:
    done = run(child, "panel", "mosquitto_pub", "-V", "5", "-d", "-q", "1", "-t", PING, "-m", "{}")

    assert "RC:135" in done.stdout


def test_the_daemon_writes_its_state_and_an_actor_reads_it(child: MosquittoChild) -> None:
    topic = "tokd/v1/main/state/daemon"
    run(child, child.daemon_username, "mosquitto_pub", "-r", "-q", "1", "-t", topic, "-m", "well")

    assert run(child, "panel", "mosquitto_sub", "-C", "1", "-W", "5", "-t", topic).stdout == "well\n"


def test_the_unix_socket_is_open_where_its_path_is_short_enough(tmp_path: Path) -> None:
    path = make(tmp_path, 1883).socket_path

    assert path == tmp_path / "broker" / "mqtt.sock" or len(str(tmp_path)) > 107 - len("/broker/mqtt.sock")


def test_a_path_too_long_for_a_socket_leaves_the_socket_out(tmp_path: Path) -> None:
    child = make(tmp_path / ("x" * 120), free_port())

    child.start()
    child.stop()

    assert child.socket_path is None


def test_everything_it_writes_is_private(child: MosquittoChild, tmp_path: Path) -> None:
    child.client_folder("me")

    written = [path for path in (tmp_path / "broker").rglob("*") if not path.is_socket()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in written} == {0o600, 0o700}


def test_passwords_are_hashed_in_the_file_the_broker_reads(child: MosquittoChild, tmp_path: Path) -> None:
    text = (tmp_path / "broker" / "users").read_text()

    assert "me:$7$" in text
    assert child.password_of("me") not in text


def test_port_and_passwords_survive_a_restart(child: MosquittoChild, tmp_path: Path) -> None:
    port, password = child.port, child.password_of("me")
    child.stop()

    again = make(tmp_path, port)
    again.start()
    again.stop()

    assert (again.port, again.password_of("me")) == (port, password)


def test_a_taken_port_is_passed_over_and_the_new_one_is_kept(tmp_path: Path) -> None:
    wanted = free_port()
    with socket.socket() as other:
        other.bind(("127.0.0.1", wanted))
        other.listen()
        first = make(tmp_path, wanted)
        first.start()
        first.stop()
    second = make(tmp_path, wanted)
    second.start()
    second.stop()

    assert first.port > wanted
    assert second.port == first.port


def test_retained_messages_survive_a_kill(child: MosquittoChild, tmp_path: Path) -> None:
    topic = "tokd/v1/main/state/daemon"
    run(child, child.daemon_username, "mosquitto_pub", "-r", "-q", "1", "-t", topic, "-m", "kept")
    assert child.pid is not None
    data = tmp_path / "broker" / "data" / "mosquitto.db"
    eventually(lambda: b"kept" in data.read_bytes() if data.exists() else False)
    os.kill(child.pid, 9)
    eventually(lambda: not child.is_alive())

    child.start()

    assert run(child, "me", "mosquitto_sub", "-C", "1", "-W", "5", "-t", topic).stdout == "kept\n"


def test_stop_may_be_called_twice_and_before_start(tmp_path: Path) -> None:
    child = make(tmp_path, free_port())
    child.stop()
    child.start()

    child.stop()
    child.stop()

    assert not child.is_alive()


def test_a_missing_mosquitto_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(AdapterFailed, match="apt install mosquitto"):
        make(tmp_path, free_port(), "no-such-mosquitto").start()


def test_a_broker_that_ends_at_once_is_reported_with_its_last_words(tmp_path: Path) -> None:
    with pytest.raises(AdapterFailed, match="ended at once"):
        make(tmp_path, free_port(), "/bin/false").start()


def test_an_unknown_user_has_no_password(child: MosquittoChild) -> None:
    with pytest.raises(AdapterFailed, match="no user 'nobody'"):
        child.password_of("nobody")


def test_a_user_name_that_would_open_other_topics_is_refused(tmp_path: Path) -> None:
    child = MosquittoChild(tmp_path, free_port(), "mosquitto", "main", "tokd", ("+",))

    with pytest.raises(AdapterFailed, match="cannot be a broker user"):
        child.start()


def test_a_large_log_is_emptied_at_start(tmp_path: Path) -> None:
    child = make(tmp_path, free_port())
    folder = tmp_path / "broker"
    folder.mkdir()
    (folder / "mosquitto.log").write_bytes(b"x" * (5 * 1024 * 1024 + 1))

    child.start()
    child.stop()

    assert (folder / "mosquitto.log").stat().st_size < 100_000


def test_it_dies_with_a_daemon_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, signal; from pathlib import Path; from adapters.broker import MosquittoChild\n"
        f"child = MosquittoChild(Path({str(tmp_path)!r}), {free_port()}, 'mosquitto', 'main', 'tokd')\n"
        "child.start(); print(child.pid, flush=True); signal.pause()\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert parent.stdout is not None
    broker_pid = int(parent.stdout.readline())

    parent.kill()
    parent.wait(10)
    parent.stdout.close()

    eventually(lambda: not is_running(broker_pid))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_its_environment_is_clean(child: MosquittoChild, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKD_SECRET", "canary")
    child.stop()
    child.start()

    assert b"canary" not in Path(f"/proc/{child.pid}/environ").read_bytes()


def test_a_home_automation_may_read_and_order_but_only_under_its_own_name(tmp_path: Path) -> None:
    guest = Guest("homeassistant", "homeassistant", "homeassistant/status")
    child = MosquittoChild(tmp_path, free_port(), "mosquitto", "main", "tokd", guest=guest)
    child.start()
    try:
        discovery = "homeassistant/device/tokd_main/config"
        daemon, home = child.daemon_username, guest.user
        assert child.users == (daemon, "me", home)
        for user, topic in ((daemon, discovery), (home, f"{discovery}/x"), ("me", "homeassistant/status")):
            run(child, user, "mosquitto_pub", "-q", "1", "-r", "-t", topic, "-m", user)

        def kept(user: str, topic: str) -> str:
            return run(child, user, "mosquitto_sub", "-t", topic, "-C", "1", "-W", "1").stdout.strip()

        assert kept(home, discovery) == daemon
        assert kept(home, f"{discovery}/x") == home
        assert kept(home, "homeassistant/status") == ""  # not everybody may play Home Assistant
        assert kept("me", discovery) == ""
    finally:
        child.stop()
