"""The real units, installed by `make install` into a nested machine: started, watched, killed, stopped, reloaded."""

import json
import os
import re
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.daemons import make_clip
from tests.systemd.machine import Machine, why_not
from tests.waiting import wait_until

WANTED = os.environ.get("TOKD_SYSTEMD") == "1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WANTED, reason="started by make test-systemd"),
    pytest.mark.skipif(WANTED and why_not() is not None, reason=str(why_not())),
]

DROP_IN = "/etc/systemd/system/tokd.service.d/90-test.conf"
CONFIG = "/etc/tokd/tokd.toml"
# The simulated TikTok; no host but this machine; a watchdog and restarts that a test can wait for.
QUICK = """[Unit]
StartLimitIntervalSec=60
[Service]
ExecStart=
ExecStart=/opt/tokd/bin/tokd --config /etc/tokd/tokd.toml run --simulate
Environment='TOKD_SESSION__BROWSER_ARGS=["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1"]'
Environment=TOKD_MEDIA__SETTLE_S=0
WatchdogSec=4
RestartSec=1
"""


class Stage:
    """The machine with tokd installed."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.run, self.sh, self.show = machine.run, machine.sh, machine.show

    def install(self) -> str:
        return self.run("make", "-C", "/usr/src/tokd", "install", within_s=400).stdout

    def write(self, path: str, text: str) -> None:
        self.run("sh", "-c", 'mkdir -p "$(dirname "$0")"; cat > "$0"', path, text_in=text)

    def start(self) -> None:
        self.run("systemctl", "daemon-reload")
        self.run("systemctl", "reset-failed", "tokd", check=False)
        self.run("systemctl", "restart", "tokd", within_s=60)

    def main(self) -> int:
        return int(self.show("MainPID"))

    def tokd(self, *words: str) -> str:
        return self.run("tokd", *words).stdout

    def send(self, verb: str, args: dict[str, object]) -> dict[str, object]:
        done = self.run("tokd", "send", verb, json.dumps(args), "--json", check=False)
        return dict(json.loads(done.stdout.strip().splitlines()[-1]))

    def back_after(self, signal: str, within_s: float) -> float:
        """Signal the main process; return the seconds until another one is ready."""
        before, began = self.main(), time.monotonic()
        self.run("kill", f"-{signal}", str(before))
        wait_until(
            lambda: self.main() not in {0, before} and self.show("ActiveState") == "active",
            within_s,
            what="another tokd",
        )
        return time.monotonic() - began

    def open_window(self) -> None:
        """Open a browser, as a person's login does; it stays until it is closed."""
        reply = self.send("profiles/login", {"profile": "master"})
        assert reply["status"] == "done", reply
        wait_until(lambda: self.renderers(), 30, what="renderers")

    def renderers(self) -> list[int]:
        """Return those that show pages."""
        script = (
            "for p in $(cat /sys/fs/cgroup/system.slice/tokd.service/cgroup.procs); do "
            "grep -qa -- --type=renderer /proc/$p/cmdline && echo $p; done; true"
        )
        return [int(pid) for pid in self.sh(script).split()]

    def is_empty(self) -> bool:
        return self.machine.processes() == []


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    # Not below /tmp, which may be in memory or an overlay itself.
    machine = Machine(Path(tempfile.mkdtemp(prefix="tokd-machine-", dir="/var/tmp")))
    try:
        found = Stage(machine.boot())
        print("\ninstalling …")
        found.install()
        found.write(DROP_IN, QUICK)
        found.run("systemctl", "start", "mosquitto")
        found.start()
        yield found
    finally:
        machine.halt()


@pytest.mark.parametrize("unit", ["tokd.service", "tokd-xvfb.service"])
def test_the_exposure_is_low_and_the_unit_has_no_fault(stage: Stage, unit: str) -> None:
    path = f"/etc/systemd/system/{unit}"
    told = stage.run("systemd-analyze", "security", "--offline=true", "--threshold=22", path).stdout
    verified = stage.run("systemd-analyze", "verify", path)
    print(re.findall(r"exposure level.*", told)[-1])

    assert [line for line in verified.stderr.splitlines() if unit in line] == []


def test_it_is_started_only_when_it_answers(stage: Stage) -> None:
    stage.start()

    assert json.loads(stage.run("tokd", "health", "--json").stdout)["result"]["version"]
    assert stage.show("Type") == "notify"
    wait_until(lambda: stage.show("StatusText").startswith("ready; posts:"), 20, what="the status")


def test_the_command_line_works_from_a_folder_that_tokd_may_not_enter(stage: Stage) -> None:
    stage.sh("mkdir -p -m 700 /root/private")

    done = stage.sh(
        "cd /root/private; tokd post schedule no.mp4 --account demo --at now --privacy SELF_ONLY 2>&1 || true"
    )

    assert "Traceback" not in done
    assert "no.mp4" in done


def test_the_broker_lets_tokd_in_by_its_own_rules(stage: Stage) -> None:
    stage.run("systemctl", "stop", "tokd")
    plain = QUICK.replace(" --simulate", "")
    stage.write(DROP_IN, plain)
    stage.start()
    try:
        wait_until(
            lambda: stage.show("StatusText").startswith("ready"), 20, what=lambda: stage.show("StatusText")
        )
        assert "ok    mqtt" in stage.tokd("health")
    finally:
        stage.write(DROP_IN, QUICK)
        stage.start()


def test_a_browser_has_a_window_and_its_own_sandbox(stage: Stage) -> None:
    stage.open_window()

    for pid in stage.renderers():
        status = stage.sh(f"cat /proc/{pid}/status")
        assert re.search(r"^Seccomp:\s+2$", status, re.MULTILINE), "system calls are filtered"
        depth = len(re.findall(r"\d+", re.search(r"^NSpid:(.*)$", status, re.MULTILINE)[1]))  # type: ignore[index]
        assert depth == 3, "it is in namespaces of its own, two below the service's"
    for pid in stage.machine.processes():
        command = stage.sh(f"tr '\\0' ' ' < /proc/{pid}/cmdline")
        assert "--no-sandbox" not in command
        if pid != stage.main():
            environ = stage.sh(f"tr '\\0' '\\n' < /proc/{pid}/environ || true")
            assert not re.search(
                r"^(CREDENTIALS_DIRECTORY|NOTIFY_SOCKET|WATCHDOG_)", environ, re.MULTILINE
            ), command


def test_secrets_are_for_the_service_alone(stage: Stage) -> None:
    key = stage.run("tokd-secret", "--show", "fernet-keys").stdout.strip()
    password = stage.run("tokd-secret", "--show", "mqtt-password").stdout.strip()
    assert len(key) == 44
    assert password

    shown = stage.run("systemctl", "show", "tokd").stdout + stage.run("systemctl", "cat", "tokd").stdout
    files = stage.sh("cat /etc/tokd/tokd.toml; tr -d '\\0' < /etc/tokd/credentials/fernet-keys")
    for secret in (key, password):
        assert secret not in shown + files + stage.machine.journal()
    for path in (
        "/run/credentials/tokd.service/fernet-keys",
        "/etc/tokd/credentials/fernet-keys",
        "/var/lib/tokd/tokd.db",
    ):
        stage.sh(f"test -e {path}")
        other = stage.run(
            "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "cat", path, check=False
        )
        assert "Permission denied" in other.stderr


def test_a_daemon_that_hangs_is_restarted_by_the_watchdog(stage: Stage) -> None:
    before = int(stage.show("NRestarts"))

    took = stage.back_after("STOP", within_s=45)

    print(f"back after SIGSTOP in {took:.1f} s")
    assert int(stage.show("NRestarts")) == before + 1


def test_a_deadlock_is_found_and_leaves_its_stacks_in_the_journal(stage: Stage) -> None:
    stage.write(DROP_IN, QUICK + "Environment=TOKD_DAEMON__FAILPOINT=inbox.before_commit:hang\n")
    stage.start()
    before = stage.main()
    try:
        stage.run("timeout", "1", "tokd", "pause", check=False)
        wait_until(lambda: stage.main() not in {0, before}, 60, what="another tokd")

        journal = stage.machine.journal()
        assert "hanging: bus" in journal
        assert "failpoints.py" in journal, "where the bus hangs"
    finally:
        stage.write(DROP_IN, QUICK)
        stage.start()


def test_a_killed_daemon_is_back_and_sweeps_what_it_left(stage: Stage) -> None:
    stage.start()
    stage.open_window()

    took = stage.back_after("KILL", within_s=30)

    print(f"back after SIGKILL in {took:.1f} s")
    wait_until(lambda: stage.renderers() == [], 20, what="the old browser's end")
    sessions = stage.tokd("session", "list")
    assert "open" not in sessions


def test_a_stop_ends_browser_and_upload_in_time(stage: Stage) -> None:
    stage.start()
    make_clip(stage.machine.path("/mnt") / "clip.mp4", pad_to=90_000_000)
    stage.run("install", "-o", "tokd", "-g", "tokd", "/mnt/clip.mp4", "/srv/tokd/clip.mp4")
    url = json.loads(stage.run("tokd", "health", "--json").stdout)["result"]["parts"]["simulator"]["url"]
    slow = [{"endpoint": "upload", "action": "slow", "seconds": 5, "times": None}]
    stage.open_window()
    stage.run("curl", "-sf", "--json", json.dumps(slow), f"{url}/_simulator/faults")
    reply = stage.send(
        "post/schedule", {"account": "demo", "media": "clip.mp4", "privacy": "SELF_ONLY", "at": "now"}
    )
    assert reply["status"] == "done", reply
    wait_until(lambda: "uploading" in stage.tokd("post", "list"), 30, what="the upload")

    began = time.monotonic()
    stage.run("systemctl", "stop", "tokd", within_s=60)
    took = time.monotonic() - began

    print(f"stopped in {took:.1f} s")
    assert took < 25, "TimeoutStopSec is 45"
    assert stage.show("Result") == "success"
    assert stage.show("ExecMainStatus") == "0"
    assert stage.is_empty()


def test_a_reload_takes_good_settings_and_outlives_bad_ones(stage: Stage) -> None:
    stage.start()
    main, good = stage.main(), stage.sh(f"cat {CONFIG}")
    try:
        stage.write(CONFIG, good + '\n[log]\nlevel = "debug"\n')
        stage.run("systemctl", "reload", "tokd")
        wait_until(lambda: "reloaded; log.level is debug" in stage.machine.journal(), 10, what="the reload")

        stage.write(CONFIG, good + '\n[log]\nlevel = "loud"\n')
        stage.run("systemctl", "reload", "tokd")
        wait_until(lambda: "the old settings stay in use" in stage.machine.journal(), 10, what="the refusal")
        assert stage.main() == main
        wait_until(lambda: stage.show("ActiveState") == "active", 10, what="active")
        assert stage.show("SubState") == "running"
    finally:
        stage.write(CONFIG, good)


def test_bad_settings_are_tried_once(stage: Stage) -> None:
    stage.run("systemctl", "stop", "tokd")
    good = stage.sh(f"cat {CONFIG}")
    try:
        stage.write(CONFIG, good + '\n[log]\nlevel = "loud"\n')
        stage.run("systemctl", "reset-failed", "tokd", check=False)
        assert stage.run("systemctl", "start", "tokd", check=False).returncode != 0

        assert stage.show("ExecMainStatus") == "78"
        assert stage.show("ActiveState") == "failed"
        assert stage.show("NRestarts") == "0"
        assert "log.level" in stage.machine.journal()
    finally:
        stage.write(CONFIG, good)


def test_a_crash_loop_ends(stage: Stage) -> None:
    stage.write(DROP_IN, QUICK.replace("RestartSec=1", "RestartSec=100ms") + "ExecStartPre=/bin/false\n")
    stage.run("systemctl", "daemon-reload")
    stage.run("systemctl", "reset-failed", "tokd", check=False)
    try:
        stage.run("systemctl", "start", "tokd", check=False)
        wait_until(lambda: stage.show("Result") == "start-limit-hit" or stage.show("ActiveState") == "failed", 30,
                   what="the limit")  # fmt: skip
        assert stage.show("NRestarts") == "5"
    finally:
        stage.write(DROP_IN, QUICK)


def test_another_installation_changes_nothing_that_is_a_persons(stage: Stage) -> None:
    stage.start()
    stage.sh(f"echo '# mine' >> {CONFIG}")
    kept = "/etc/tokd/tokd.toml /etc/tokd/credentials/* /etc/mosquitto/tokd.* /etc/mosquitto/conf.d/tokd.conf"
    before, main = stage.sh(f"sha256sum {kept}"), stage.main()

    stage.install()

    assert stage.sh(f"sha256sum {kept}") == before
    assert stage.main() not in {0, main}, "the new program runs"
    assert len(stage.sh("ls -d /opt/tokd/venv-*").split()) == 2, "the old program can be gone back to"


def test_a_wheel_with_a_wrong_hash_is_refused_and_the_old_program_stays(stage: Stage) -> None:
    before = stage.sh("readlink /opt/tokd/venv")
    stage.sh("rm -rf /root/src; cp -R /usr/src/tokd /root/src 2>/dev/null || true; rm -rf /root/src/.venv")
    stage.sh("sed -i 's/sha256:[0-9a-f]\\{64\\}/sha256:" + "0" * 64 + "/' /root/src/requirements/run.txt")

    done = stage.run("make", "-C", "/root/src", "install", check=False, within_s=300)

    assert done.returncode != 0
    assert "THESE PACKAGES DO NOT MATCH THE HASHES" in done.stderr + done.stdout
    assert stage.sh("readlink /opt/tokd/venv") == before
    assert stage.tokd("health")


def test_removing_keeps_the_data(stage: Stage) -> None:
    told = stage.run("make", "-C", "/usr/src/tokd", "uninstall", within_s=120).stdout

    assert "What is yours stays: /var/lib/tokd" in told
    stage.sh(
        "test -e /var/lib/tokd/tokd.db; test -e /etc/tokd/tokd.toml; test -e /etc/tokd/credentials/fernet-keys"
    )
    stage.sh("test ! -e /opt/tokd; test ! -e /etc/systemd/system/tokd.service; test ! -e /usr/local/bin/tokd")
    assert stage.is_empty()
