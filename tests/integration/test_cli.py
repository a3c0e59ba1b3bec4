"""The command line against a real control server: what is sent, what is printed, how it exits."""

import io
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from rich.progress import Progress, TextColumn
from typer.testing import CliRunner, Result

from adapters.storage.migrate import HEAD
from daemon.cli.app import app
from daemon.cli.watching import Bars
from daemon.domain.errors import Code, Problem, Rejected
from daemon.domain.events import Event, EventType, as_cloudevent
from daemon.domain.wire import Request
from tests.brokers import Broker, free_port
from tests.integration.control_stage import Stage, folder, stage

__all__ = ["folder", "stage"]

SCHEDULE = ["post", "schedule", "clip.mp4", "--account", "demo", "--privacy", "SELF_ONLY"]
TOKENS = {
    "access_token": "act.canary", "refresh_token": "rft.canary", "open_id": "o-1", "expires_in": 86400,
    "refresh_expires_in": 31536000, "scope": "video.publish",
}  # fmt: skip
Tokd = Callable[..., Result]


@pytest.fixture
def tokd(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tokd:
    """Run a command in an empty folder, with its state there."""
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("TOKD_")]:
        monkeypatch.delenv(name)

    def run(*words: str, text: str | bytes | None = None) -> Result:
        options = ["--set", f"daemon.state_dir={folder}"]
        return CliRunner().invoke(app, [*options, *words], input=text, prog_name="tokd")

    return run


def refuse(error: Rejected) -> Callable[[Request], list[dict[str, Any]]]:
    return lambda _request: [{"status": "rejected", "error": error.as_dict()}]


def answer(result: dict[str, Any]) -> Callable[[Request], list[dict[str, Any]]]:
    return lambda _request: [{"status": "done", "result": result}]


def sent(stage: Stage) -> dict[str, Any]:
    """Return the arguments of the one command that was sent."""
    (request,) = stage.bus.requests
    found = json.loads(request.body)["args"]
    assert isinstance(found, dict)
    return found


# -- exit codes ----------------------------------------------------------------------------------------------


def test_a_daemon_that_does_not_run_is_69_and_says_what_to_do(tokd: Tokd, folder: Path) -> None:
    found = tokd("health")

    assert found.exit_code == 69
    assert "start it with `tokd run`" in found.stderr
    assert str(folder / "control.sock") in found.stderr


def test_mistakes_in_the_configuration_are_78_one_on_a_line(tokd: Tokd) -> None:
    found = tokd("post", "list", "--set", "log.level=loud", "--set", "mqtt.prot=5")

    assert found.exit_code == 78
    assert len(found.stderr.splitlines()) == 2


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["post", "schedule"], id="an option is missing"),
        pytest.param([*SCHEDULE], id="no time"),
        pytest.param([*SCHEDULE, "--at", "+5y"], id="no such time from now"),
        pytest.param([*SCHEDULE, "--at", "now", "--url", "https://x/a"], id="two sources"),
        pytest.param(["post", "schedule", "-a", "demo", "--at", "now"], id="no source"),
        pytest.param([*SCHEDULE, "--at", "now", "--late-after", "5"], id="half a late rule"),
        pytest.param(["post", "resolve", "p_1", "perhaps"], id="no such outcome"),
        pytest.param(["nonsense"], id="no such command"),
        pytest.param(["health", "--set", "log.level"], id="no value"),
    ],
)
def test_wrong_usage_is_2_and_sends_nothing(tokd: Tokd, stage: Stage, words: list[str]) -> None:
    assert tokd(*words).exit_code == 2
    assert stage.bus.requests == []


def test_a_refusal_is_1_with_message_field_code_and_hint_on_standard_error(tokd: Tokd, stage: Stage) -> None:
    problem = Problem("codec", "the video is VP9", "ffmpeg -c:v libx264")
    stage.bus.reply_with = refuse(
        Rejected(Code.MEDIA_REJECTED, "cannot be posted", field="args.media", problems=(problem,))
    )

    found = tokd(*SCHEDULE, "--at", "now")

    assert found.exit_code == 1
    assert found.stderr.splitlines() == [
        "refused: cannot be posted",
        "  field: args.media",
        "  code:  media_rejected",
        "  - codec: the video is VP9",
        "    hint: ffmpeg -c:v libx264",
    ]


def test_a_refusal_without_problems_gets_a_hint_of_our_own(tokd: Tokd, stage: Stage) -> None:
    stage.bus.reply_with = refuse(
        Rejected(Code.NO_SUCH_ACCOUNT, "there is no account x", field="args.account")
    )

    assert "hint:  `tokd account list`" in tokd(*SCHEDULE, "--at", "now").stderr


def test_a_refusal_as_json_is_the_reply_on_standard_output(tokd: Tokd, stage: Stage) -> None:
    stage.bus.reply_with = refuse(Rejected(Code.NO_SUCH_POST, "there is no post p_9"))

    found = tokd("post", "show", "p_9", "--json")

    assert (found.exit_code, json.loads(found.stdout)["error"]["code"]) == (1, "no_such_post")


# -- posts ---------------------------------------------------------------------------------------------------


def test_schedule_sends_every_option_under_its_own_name(tokd: Tokd, stage: Stage) -> None:
    tokd(
        *SCHEDULE, "--at", "2026-12-01T18:00", "--zone", "Europe/Berlin", "--mode", "inbox", "--title", "Hi",
        "--hashtag", "a", "--hashtag", "b", "--cover-ms", "5", "--allow-comment", "--allow-duet",
        "--allow-stitch", "--brand-content", "--brand-organic", "--aigc", "--if-late", "fail",
        "--late-after", "60", "--consent-by", "Anna",
    )  # fmt: skip

    assert sent(stage) == {
        "account": "demo", "media": "clip.mp4", "privacy": "SELF_ONLY", "at": "2026-12-01T18:00",
        "zone": "Europe/Berlin", "mode": "inbox", "title": "Hi", "hashtags": ["a", "b"], "cover_ms": 5,
        "allow_comment": True, "allow_duet": True, "allow_stitch": True, "brand_content": True,
        "brand_organic": True, "is_aigc": True, "if_late": {"policy": "fail", "after_s": 60},
        "consent_by": "Anna",
    }  # fmt: skip


def test_schedule_sends_nothing_that_was_not_asked_for(tokd: Tokd, stage: Stage) -> None:
    tokd("post", "schedule", "clip.mp4", "-a", "demo", "--at", "now")

    assert sent(stage) == {"account": "demo", "media": "clip.mp4", "mode": "direct", "at": "now"}


def test_schedule_takes_photos_and_addresses(tokd: Tokd, stage: Stage) -> None:
    tokd("post", "schedule", "-a", "demo", "--at", "now", "--photo", "https://x/1", "--photo", "https://x/2")

    assert sent(stage)["photos"] == ["https://x/1", "https://x/2"]


def test_a_file_that_is_here_is_sent_with_its_full_path(tokd: Tokd, stage: Stage, folder: Path) -> None:
    (folder / "clip.mp4").touch()

    tokd(*SCHEDULE, "--at", "now")

    assert sent(stage)["media"] == str(folder / "clip.mp4")


def test_a_time_from_now_is_sent_as_an_instant(tokd: Tokd, stage: Stage) -> None:
    tokd(*SCHEDULE, "--at", "+10m")

    at = datetime.fromisoformat(sent(stage)["at"])
    assert timedelta(minutes=9) < at - datetime.now(UTC) <= timedelta(minutes=10)


def test_an_id_is_made_and_printed_when_none_is_given(tokd: Tokd, stage: Stage) -> None:
    found = tokd(*SCHEDULE, "--at", "now")

    command_id = stage.bus.requests[0].id
    assert re.fullmatch(r"cli-[0-9a-f]{16}", command_id or "")
    assert f"id {command_id}" in found.stdout


def test_an_id_of_ones_own_is_sent_as_it_is(tokd: Tokd, stage: Stage) -> None:
    found = tokd(*SCHEDULE, "--at", "now", "--id", "mine-1")

    assert (stage.bus.requests[0].id, "mine-1" in found.stdout) == ("mine-1", False)


def test_every_command_with_an_effect_has_an_id(tokd: Tokd, stage: Stage) -> None:
    tokd("pause")
    tokd("post", "cancel", "p_1")

    assert all(request.id for request in stage.bus.requests)


def test_a_dry_run_is_sent_as_one(tokd: Tokd, stage: Stage) -> None:
    tokd(*SCHEDULE, "--at", "now", "--dry-run")

    assert stage.bus.requests[0].dry_run


def test_schedule_prints_the_post_and_its_warnings(tokd: Tokd, stage: Stage) -> None:
    stage.bus.reply_with = lambda _request: [
        {"status": "accepted"},
        {
            "status": "done",
            "result": {"post": "p_7", "state": "scheduled", "warnings": ["posting is paused"]},
        },
    ]

    found = tokd(*SCHEDULE, "--at", "now", "--id", "a")

    assert found.exit_code == 0
    assert found.stdout.splitlines() == ["post   p_7", "state  scheduled"]
    assert found.stderr.splitlines() == ["accepted; working on it …", "note: posting is paused"]


def test_schedule_as_json_prints_the_final_reply_and_nothing_else(tokd: Tokd, stage: Stage) -> None:
    stage.bus.reply_with = answer({"post": "p_7"})

    found = tokd(*SCHEDULE, "--at", "now", "--json")

    assert json.loads(found.stdout)["result"] == {"post": "p_7"}
    assert found.stderr == ""


@pytest.mark.parametrize(
    ("words", "verb", "args"),
    [
        (["post", "list", "--state", "held"], "post/list", {"state": "held", "limit": 50}),
        (["post", "show", "p_1"], "post/status", {"post": "p_1"}),
        (["post", "cancel", "p_1"], "post/cancel", {"post": "p_1"}),
        (["post", "publish-now", "p_1"], "post/publish_now", {"post": "p_1"}),
        (["post", "publish-now", "-a", "demo"], "post/publish_now", {"account": "demo"}),
        (["post", "reschedule", "p_1", "--at", "now"], "post/reschedule", {"post": "p_1", "at": "now"}),
        (
            ["post", "resolve", "p_1", "published", "--by", "anna"],
            "post/resolve",
            {"post": "p_1", "outcome": "published", "by": "anna"},
        ),
        (["account", "list"], "account/list", {}),
        (["pause", "--reason", "rest"], "system/pause", {"reason": "rest"}),
        (["resume"], "system/resume", {}),
        (["health"], "system/health", {}),
        (["send", "events/replay", '{"after": 3}'], "events/replay", {"after": 3}),
        (["send", "system/ping"], "system/ping", {}),
    ],
)
def test_a_command_becomes_its_verb(
    tokd: Tokd, stage: Stage, words: list[str], verb: str, args: dict[str, Any]
) -> None:
    tokd(*words, "--json")

    assert (stage.bus.requests[0].verb, sent(stage)) == (verb, args)


def test_posts_are_listed_one_on_a_line_when_nobody_looks(tokd: Tokd, stage: Stage) -> None:
    post = {
        "post": "p_1",
        "state": "held",
        "account": "demo",
        "at_local": "T",
        "reason": "late",
        "title": "a\x1bb",
    }
    stage.bus.reply_with = answer({"posts": [post]})

    assert tokd("post", "list").stdout == "p_1\theld\tdemo\tT\tlate\ta\\x1bb\n"


def test_health_prints_a_line_for_every_part(tokd: Tokd, stage: Stage) -> None:
    stage.bus.reply_with = answer({"phase": "degraded", "parts": {"mqtt": {"ok": False, "queued": 3}}})

    assert tokd("health").stdout.splitlines() == ["phase  degraded", "FAIL  mqtt  queued 3"]


def test_send_reads_a_message_from_standard_input(tokd: Tokd, stage: Stage) -> None:
    tokd("send", "post/status", "-", text='{"args": {"post": "p_1"}}')

    assert sent(stage) == {"post": "p_1"}


def test_send_refuses_what_is_not_strict_json(tokd: Tokd, stage: Stage) -> None:
    found = tokd("send", "post/status", '{"post": NaN}')

    assert (found.exit_code, "bad_json" in found.stderr, stage.bus.requests) == (1, True, [])


def test_send_passes_an_unknown_verb_on_and_prints_the_answer(tokd: Tokd, stage: Stage) -> None:
    found = tokd("send", "post/shedule", "{}")

    assert found.exit_code == 1
    assert "did you mean post/schedule" in found.stderr


# -- accounts ------------------------------------------------------------------------------------------------


def test_import_sends_the_tokens_and_prints_none(tokd: Tokd, stage: Stage) -> None:
    stage.bus.reply_with = answer({"account": "shop", "login": "ok"})

    found = tokd("account", "import", "shop", text=json.dumps(TOKENS))

    command: Any = stage.bus.requests[0].command
    assert command.access_token.get_secret_value() == "act.canary"
    assert found.stdout.splitlines() == ["account  shop", "login    ok"]
    assert "canary" not in found.output


@pytest.mark.parametrize(
    "text",
    [
        pytest.param('{"access_token": "act.canary",', id="broken JSON"),
        pytest.param('{"access_token": "act.canary"}', id="fields missing"),
        pytest.param(json.dumps(TOKENS | {"access_token": "act.canary\n2"}), id="a line break in a token"),
        pytest.param(json.dumps(TOKENS | {"expires_in": "act.canary"}), id="a token in the wrong place"),
        pytest.param("act.canary", id="a bare token"),
        pytest.param("", id="nothing"),
    ],
)
@pytest.mark.parametrize("more", [[], ["--json"]])
def test_a_bad_import_fails_and_prints_no_token(tokd: Tokd, stage: Stage, text: str, more: list[str]) -> None:
    found = tokd("account", "import", "shop", *more, text=text)

    assert found.exit_code == 1
    assert "canary" not in found.output


# -- watching ------------------------------------------------------------------------------------------------


def first_line_of_watch(stage: Stage, *more: str) -> str:
    """Return the first line of a real `tokd watch`, ended by Ctrl-C."""
    process = subprocess.Popen(
        # A shell that runs the suite in the background has Ctrl-C ignored, and children inherit that.
        ["env", "--default-signal=INT", sys.executable, "-m", "daemon", "--set", f"daemon.state_dir={stage.folder}",
         "watch", *more],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, complaints = process.communicate(timeout=10)
    assert (process.returncode, complaints) == (0, "")
    return line


def test_watch_prints_a_line_for_every_event_until_ctrl_c(stage: Stage) -> None:
    stage.bus.emit(account="demo")

    assert "post.started  post/p_1  account=demo" in first_line_of_watch(stage, "--after", "0")


def test_watch_as_json_prints_cloudevents(stage: Stage) -> None:
    stage.bus.emit()

    found = json.loads(first_line_of_watch(stage, "--after", "0", "--json"))

    assert (found["specversion"], found["type"]) == ("1.0", "dev.tokd.post.started")


def test_watch_draws_a_bar_for_an_upload_and_takes_it_away_at_its_end() -> None:
    console = Console(force_terminal=True, file=io.StringIO(), width=100)
    progress = Progress(TextColumn("{task.description} {task.percentage:.0f}"), console=console)
    bars = Bars(progress)

    bars.show(event_of("post.progress", sent_bytes=25, size=100))
    while_uploading = [(task.description, task.percentage) for task in progress.tasks]
    bars.show(event_of("post.processing"))

    assert while_uploading == [("post/p_1", 25.0)]
    assert progress.tasks == []


def event_of(kind: str, **data: Any) -> dict[str, Any]:
    return as_cloudevent(Event(EventType(kind), "post/p_1", datetime.now(UTC), data), "main", 1)


# -- configuration -------------------------------------------------------------------------------------------


def test_config_check_names_every_mistake_with_its_line(tokd: Tokd, folder: Path) -> None:
    (folder / "tokd.toml").write_text('[mqtt]\nhots = "x"\nport = 0\n[log]\nlevel = "loud"\n')

    found = tokd("config", "check")

    assert found.exit_code == 78
    assert [line.split(":")[1] for line in found.stderr.splitlines()] == ["2", "3", "5"]


def test_config_check_as_json_names_every_mistake(tokd: Tokd) -> None:
    found = tokd("config", "check", "--json", "--set", "log.level=loud")

    assert (found.exit_code, len(json.loads(found.stdout)["problems"])) == (78, 1)


def test_config_check_of_a_good_configuration_is_0(tokd: Tokd) -> None:
    assert tokd("config", "check").exit_code == 0


@pytest.mark.parametrize("more", [[], ["--json"]])
def test_config_show_masks_secrets(tokd: Tokd, more: list[str]) -> None:
    found = tokd(
        "config", "show", *more, "--set", "mqtt.password=canary", "--set", "tiktok.client_secret=canary"
    )

    assert found.exit_code == 0
    assert "canary" not in found.output
    assert "override" in found.stdout


def test_config_example_is_a_file_that_changes_nothing(tokd: Tokd, folder: Path) -> None:
    (folder / "tokd.toml").write_text(tokd("config", "example").stdout)

    assert tokd("config", "check").exit_code == 0


def test_config_schema_is_json(tokd: Tokd) -> None:
    assert "mqtt" in json.loads(tokd("config", "schema").stdout)["properties"]


def test_config_markers_are_a_file_that_changes_nothing(tokd: Tokd, folder: Path) -> None:
    (folder / "markers.toml").write_text(tokd("config", "markers").stdout)
    before = tokd("config", "markers", "--effective").stdout

    after = tokd("--set", "session.login_markers_file=markers.toml", "config", "markers", "--effective")

    assert (after.exit_code, after.stdout) == (0, before)


def test_config_markers_are_printed_with_their_comments(tokd: Tokd) -> None:
    built_in = Path(__file__).parents[2] / "config" / "login_markers.toml"

    assert tokd("config", "markers").stdout == built_in.read_text()


def test_config_markers_that_hold_include_the_persons_own(tokd: Tokd, folder: Path) -> None:
    (folder / "markers.toml").write_text('cookies = ["sid"]\n')

    found = tokd(
        "config", "markers", "--effective", "--json", "--set", "session.login_markers_file=markers.toml"
    )

    assert tomllib.loads(json.loads(found.stdout)["toml"])["cookies"] == ["sid"]


def test_config_check_names_a_mistake_in_the_markers(tokd: Tokd, folder: Path) -> None:
    (folder / "markers.toml").write_text('\nhots = ["a"]\n')

    found = tokd("config", "check", "--set", "session.login_markers_file=markers.toml")

    assert found.exit_code == 78
    assert 'markers.toml:2: hots: unknown key; did you mean "hosts"?' in found.stderr


# -- doctor --------------------------------------------------------------------------------------------------


def checks(found: Result) -> dict[str, str]:
    return {check["name"]: check["verdict"] for check in json.loads(found.stdout)["checks"]}


HERE = ("--set", "tiktok.api_base=http://127.0.0.1:9")


def test_doctor_finds_nothing_wrong_before_the_first_start(tokd: Tokd) -> None:
    found = tokd("doctor", "--json", *HERE)

    assert found.exit_code == 0
    assert checks(found)["daemon"] == "warn"


def test_doctor_asks_a_running_daemon_how_it_is(tokd: Tokd, stage: Stage) -> None:
    stage.bus.reply_with = answer({"phase": "ready", "degraded": [], "version": "1"})

    assert checks(tokd("doctor", "--json", *HERE))["daemon"] == "ok"


def test_doctor_fails_on_a_damaged_database_and_leaves_it_alone(tokd: Tokd, folder: Path) -> None:
    (folder / "tokd.db").write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    before = (folder / "tokd.db").read_bytes()

    found = tokd("doctor", "--json", *HERE)

    assert (found.exit_code, checks(found)["database"]) == (1, "fail")
    assert (folder / "tokd.db").read_bytes() == before


@pytest.mark.parametrize(("revision", "verdict"), [(HEAD, "ok"), ("9999", "fail"), ("0001", "warn")])
def test_doctor_compares_the_schema_with_the_program(
    tokd: Tokd, folder: Path, revision: str, verdict: str
) -> None:
    with sqlite3.connect(folder / "tokd.db") as connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("CREATE TABLE alembic_version (version_num TEXT)")
        connection.execute("INSERT INTO alembic_version VALUES (?)", [revision])
    connection.close()

    assert checks(tokd("doctor", "--json", *HERE))["database"] == verdict


def test_doctor_fails_on_keys_that_others_may_read(tokd: Tokd, folder: Path) -> None:
    (folder / "secrets").mkdir()
    (folder / "secrets" / "fernet.keys").write_text("k")
    (folder / "secrets" / "fernet.keys").chmod(0o644)

    found = tokd("doctor", *HERE)

    assert found.exit_code == 1
    assert f"chmod 600 {folder}/secrets/fernet.keys" in found.stdout


def test_doctor_fails_with_78_on_a_configuration_that_is_wrong(tokd: Tokd) -> None:
    assert tokd("doctor", "--set", "log.level=loud").exit_code == 78


@pytest.fixture
def broker(folder: Path) -> Any:
    acl = "user tokd\ntopic readwrite tokd/v1/main/#\nuser half\ntopic write tokd/v1/main/#\nuser none\n"
    found = Broker(folder / "broker", users={"tokd": "canary", "half": "canary", "none": "canary"}, acl=acl)
    found.start()
    yield found
    found.close()


def mqtt(port: int, user: str, password: str = "canary", *more: str) -> list[str]:
    pairs = [
        "mqtt.host=127.0.0.1",
        f"mqtt.port={port}",
        f"mqtt.username={user}",
        f"mqtt.password={password}",
        *more,
    ]
    return [word for pair in pairs for word in ("--set", pair)]


@pytest.mark.parametrize("protocol", ["auto", "5", "3.1.1"])
def test_doctor_proves_the_rights_at_the_broker(tokd: Tokd, broker: Broker, protocol: str) -> None:
    found = tokd("doctor", "--json", *HERE, *mqtt(broker.port, "tokd", "canary", f"mqtt.protocol={protocol}"))

    assert (checks(found)["mqtt login"], checks(found)["mqtt rights"]) == ("ok", "ok")
    assert "canary" not in found.output


def test_doctor_names_a_wrong_password(tokd: Tokd, broker: Broker) -> None:
    found = tokd("doctor", "--json", *HERE, *mqtt(broker.port, "tokd", "wrong-canary"))

    assert (found.exit_code, checks(found)["mqtt login"]) == (1, "fail")
    assert "canary" not in found.output


def test_doctor_names_an_acl_that_lets_nothing_come_back(tokd: Tokd, broker: Broker) -> None:
    assert checks(tokd("doctor", "--json", *HERE, *mqtt(broker.port, "half")))["mqtt rights"] == "fail"


def test_doctor_names_an_acl_that_refuses_to_publish(tokd: Tokd, broker: Broker) -> None:
    assert checks(tokd("doctor", "--json", *HERE, *mqtt(broker.port, "none")))["mqtt publish"] == "fail"


def test_doctor_names_a_broker_that_is_not_there(tokd: Tokd) -> None:
    assert checks(tokd("doctor", "--json", *HERE, *mqtt(free_port(), "tokd")))["mqtt connection"] == "fail"


def test_doctor_names_a_port_that_speaks_no_tls(tokd: Tokd, broker: Broker) -> None:
    words = mqtt(broker.port, "tokd", "canary", "mqtt.tls.enabled=true")

    assert checks(tokd("doctor", "--json", *HERE, *words))["mqtt tls"] == "fail"
