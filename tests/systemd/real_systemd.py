"""The real units, installed by `make install` into a nested machine: started, watched, killed, stopped, reloaded."""

import json
import os
import re
import time
from collections.abc import Iterator

import pytest

from tests.systemd import probes
from tests.systemd.machine import why_not
from tests.systemd.stage import CONFIG, UNITS, Stage, missing_stacks
from tests.waiting import wait_until

WANTED = os.environ.get("TOKD_SYSTEMD") == "1"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not WANTED, reason="started by make test-systemd"),
    pytest.mark.skipif(WANTED and why_not() is not None, reason=str(why_not())),
]


@pytest.fixture(scope="module")
def stage() -> Iterator[Stage]:
    print("\ninstalling …")
    found = Stage.built()
    try:
        with found.network():
            yield found
    finally:
        found.close()


def back_after(stage: Stage, signal: str, within_s: float) -> float:
    """Signal the main process; return the seconds until another one is ready."""
    before, began = stage.main(), time.monotonic()
    stage.run("kill", f"-{signal}", str(before))
    return stage.another(before, within_s).ready_at - began


@pytest.mark.parametrize("unit", UNITS)
def test_the_exposure_is_low_and_the_unit_has_no_fault(stage: Stage, unit: str) -> None:
    value, wrong = probes.exposed(stage, unit)
    print(f"{unit}: {value}")

    assert wrong == []
    assert probes.verified(stage, unit) == []


def test_the_unit_of_a_desktop_has_no_fault(stage: Stage) -> None:
    assert probes.verified_for_a_person(stage) == []


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
    stage.start()

    wait_until(lambda: "ok    mqtt" in stage.tokd("health"), 20, 0.5, what=lambda: stage.show("StatusText"))


def test_systemctl_status_says_what_health_says(stage: Stage) -> None:
    stage.order(300_000)

    wait_until(
        lambda: re.search(r"Status: \"ready; posts: .*\d+ published", stage.run("systemctl", "status", "tokd").stdout),
        45, 0.5, what=lambda: stage.run("systemctl", "status", "tokd").stdout,
    )  # fmt: skip


def test_the_journal_can_be_asked_for_warnings_alone(stage: Stage) -> None:
    stage.run("systemctl", "reload", "tokd")
    wait_until(lambda: "reloaded; log.level is" in stage.machine.journal(), 20, 0.2)

    told = stage.machine.journal("tokd.service", "-p", "warning", "SYSLOG_IDENTIFIER=tokd")

    assert "reloaded; log.level is" in told
    assert "secrets are sealed with" in stage.machine.journal()
    assert "secrets are sealed with" not in told, "that is no warning"


def test_the_journal_finds_how_a_post_has_ended(stage: Stage) -> None:
    order = stage.order(300_000)
    assert stage.settled([order]).wrong == {}

    told = stage.machine.journal("tokd.service", f"TOKD_POST={stage.posts[order.command]}")

    assert told.strip().endswith("post.published")


def test_usr1_writes_every_threads_stack_and_does_no_harm(stage: Stage) -> None:
    main = stage.main()

    stage.run("systemctl", "kill", "--kill-whom=main", "-s", "USR1", "tokd")

    wait_until(
        lambda: missing_stacks(stage.words_of(main)) == [], 10, 0.2, what=lambda: stage.words_of(main)[-2000:]
    )
    assert stage.main() == main
    assert "ok" in stage.tokd("health")


def test_a_browser_has_a_window_and_its_own_sandbox(stage: Stage) -> None:
    stage.open_windows()

    assert probes.sandboxed(stage) == []
    wait_until(lambda: probes.is_shown(stage), 20, 0.5, what=lambda: str(stage.titles()))


def test_secrets_are_for_the_service_alone(stage: Stage) -> None:
    assert probes.secret(stage) == []


def test_a_daemon_that_hangs_is_restarted_by_the_watchdog(stage: Stage) -> None:
    before = int(stage.show("NRestarts"))

    took = back_after(stage, "STOP", within_s=45)

    print(f"back after SIGSTOP in {took:.1f} s")
    assert int(stage.show("NRestarts")) == before + 1


def test_a_deadlock_is_found_and_leaves_its_stacks_in_the_journal(stage: Stage) -> None:
    stage.arm("inbox.before_commit:hang")
    stage.start()
    stage.arm(None)
    before = stage.main()

    stage.later("system/ping", {})
    stage.another(before)

    journal = stage.words_of(before)
    assert "hanging: bus" in journal
    assert "failpoints.py" in journal, "where the bus hangs"


def test_a_killed_daemon_is_back_and_sweeps_what_it_left(stage: Stage) -> None:
    stage.start()
    stage.open_windows()

    took = back_after(stage, "KILL", within_s=30)

    print(f"back after SIGKILL in {took:.1f} s")
    wait_until(lambda: stage.renderers() == [], 20, 0.2, what="the old browser's end")
    assert "open" not in stage.tokd("session", "list")
    wait_until(lambda: stage.clones() == [], 20, 0.2, what=lambda: str(stage.clones()))


def test_a_stop_ends_browser_and_upload_in_time(stage: Stage) -> None:
    stage.start()
    stage.open_windows()
    stage.simulator.faults({"endpoint": "upload", "action": "slow", "seconds": 5, "times": None})
    order = stage.order(12_000_000)
    wait_until(
        lambda: stage.state_of(order) in {"initialised", "uploading"}, 30, what=lambda: stage.state_of(order)
    )

    took = stage.stop()

    stage.simulator.clear_faults()
    print(f"stopped in {took:.1f} s")
    assert took < 25, "TimeoutStopSec is 45"
    assert (stage.show("Result"), stage.show("ExecMainStatus")) == ("success", "0")
    assert stage.is_empty()
    assert stage.clones() == []
    stage.start()
    assert stage.settled([order]).wrong == {}


def test_a_reload_takes_good_settings_and_outlives_bad_ones(stage: Stage) -> None:
    stage.start()
    main = stage.main()
    with stage.config() as good:
        stage.write(CONFIG, good + '\n[log]\nlevel = "debug"\n')
        stage.run("systemctl", "reload", "tokd")
        wait_until(lambda: "reloaded; log.level is debug" in stage.words_of(main), 10, what="the reload")

        stage.write(CONFIG, good + '\n[log]\nlevel = "loud"\n')
        stage.run("systemctl", "reload", "tokd")
        wait_until(lambda: "the old settings stay in use" in stage.words_of(main), 10, what="the refusal")
        assert stage.main() == main
        wait_until(lambda: stage.show("ActiveState") == "active", 10, what="active")
        assert stage.show("SubState") == "running"


def test_bad_settings_are_tried_once(stage: Stage) -> None:
    stage.stop()
    with stage.config() as good:
        stage.write(CONFIG, good + '\n[log]\nlevel = "loud"\n')
        stage.run("systemctl", "reset-failed", "tokd", check=False)
        assert stage.run("systemctl", "start", "tokd", check=False).returncode != 0

        assert stage.show("ExecMainStatus") == "78"
        assert stage.show("ActiveState") == "failed"
        assert stage.show("NRestarts") == "0"
        assert "log.level" in stage.machine.journal()


def test_a_crash_loop_ends(stage: Stage) -> None:
    stage.change(unit="StartLimitIntervalSec=300\nStartLimitBurst=5", service="ExecStartPre=/bin/false")
    stage.run("systemctl", "reset-failed", "tokd", check=False)
    try:
        stage.run("systemctl", "start", "tokd", check=False)
        wait_until(lambda: stage.show("ActiveState") == "failed", 30, 0.1, what="the limit")
        assert stage.show("NRestarts") == "5"
    finally:
        stage.change()


def test_another_installation_changes_nothing_that_is_a_persons(stage: Stage) -> None:
    stage.start()
    stage.sh(f"echo '# mine' >> {CONFIG}")
    assert stage.show("ActiveState") == "active"
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

    done = stage.run("make", "-C", "/root/src", "install", check=False, within_s=300, online=True)

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
