"""`tokd session …` and `tokd profile …` against a real control server: what is sent, told, printed, and the exit code."""

import base64
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from daemon.cli.app import app
from daemon.cli.times import local_hour, local_time
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.domain.wire import Request
from tests.integration.control_stage import Stage, folder, stage

__all__ = ["folder", "stage"]

ID = "0123456789abcdef"
OTHER = "fedcba9876543210"
EVIDENCE = ["account info call: 200, a user"]
ENDS_AT = "2026-01-01T10:05:10.000Z"
LOGGED_IN = {"state": "logged_in", "method": "info", "evidence": EVIDENCE, "ms": 900, "username": "ada"}
VIEW = {
    "session": ID, "kind": "tiktok", "profile": "master", "state": "open", "headless": False, "login": LOGGED_IN,
    "ends_at": ENDS_AT,
}  # fmt: skip
ENDED: dict[str, Any] = {"reason": "closed_by_user", "seconds": 12.4, "profile": "master"}
Tokd = Callable[..., Result]
Bodies = list[dict[str, Any]]


class Script:
    """Answers each verb as told, and tells events of a session before it answers."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.answers: dict[str, Callable[[Request], Bodies]] = {
            "events/replay": lambda _request: done(latest=len(stage.bus.events)),
        }
        stage.bus.reply_with = lambda request: self.answers[request.verb](request)

    def on(self, verb: str, *bodies: Bodies, events: tuple[tuple[str, dict[str, Any]], ...] = ()) -> "Script":
        """Answer with these bodies, one list after the other, the last one ever again."""
        left = list(bodies)

        def answer(request: Request) -> Bodies:
            for kind, data in events:
                self.tell(kind, command_id=request.id, **data)
            return left.pop(0) if len(left) > 1 else left[0]

        self.answers[verb] = answer
        return self

    def tell(self, kind: str, session: str = ID, **data: Any) -> None:
        self._stage.bus.emit(EventType(f"session.{kind}"), f"session/{session}", session=session, **data)

    def args(self, verb: str) -> dict[str, Any]:
        """Return the arguments of the last command of this verb."""
        request = [found for found in self._stage.bus.requests if found.verb == verb][-1]
        found = json.loads(request.body)["args"]
        assert isinstance(found, dict)
        return found


def done(**result: Any) -> Bodies:
    return [{"status": "done", "result": result}]


def late(**result: Any) -> Bodies:
    return [{"status": "accepted"}, *done(**result)]


def refused(code: Code, message: str) -> Bodies:
    return [{"status": "accepted"}, {"status": "failed", "error": Rejected(code, message).as_dict()}]


@pytest.fixture
def script(stage: Stage) -> Script:
    return Script(stage)


@pytest.fixture
def tokd(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Tokd:
    """Run a command in an empty folder, with its state there."""
    monkeypatch.chdir(folder)
    for name in [name for name in os.environ if name.startswith("TOKD_")]:
        monkeypatch.delenv(name)

    def run(*words: str) -> Result:
        return CliRunner().invoke(app, ["--set", f"daemon.state_dir={folder}", *words], prog_name="tokd")

    return run


OPENING = (
    ("requested", {"profile": "master"}),
    ("started", {"browser": "156.0", "sandbox": True, "headless": False, "warnings": []}),
    ("login_state", LOGGED_IN),
    ("opened", {"ends_at": ENDS_AT}),
)


# -- open ----------------------------------------------------------------------------------------------------


def test_open_sends_every_option_under_its_own_name(tokd: Tokd, script: Script) -> None:
    script.on("session/open", done(**VIEW))

    tokd("session", "open", "--profile", "shop", "--url", "https://a.example/", "--for", "5m", "--headless",
         "--no-require-login")  # fmt: skip

    assert script.args("session/open") == {
        "profile": "shop", "url": "https://a.example/", "timeout_seconds": 300, "headless": True,
        "require_login": False,
    }  # fmt: skip


def test_open_sends_nothing_that_was_not_asked_for(tokd: Tokd, script: Script) -> None:
    script.on("session/open", done(**VIEW))

    tokd("session", "open")

    assert script.args("session/open") == {}


def test_open_tells_each_step_and_prints_until_when_it_is_open(tokd: Tokd, script: Script) -> None:
    script.on("session/open", late(**VIEW), events=OPENING)

    found = tokd("session", "open")

    assert found.exit_code == 0
    assert found.stderr.splitlines() == [
        "cloning profile master, starting a browser …",
        "browser 156.0 runs (sandbox on)",
        "logged in as ada (account info call: 200, a user), 0.9 s",
    ]
    assert found.stdout == f"session {ID}: the window is open until {local_hour(ENDS_AT)}\n"


def test_open_tells_nothing_of_other_sessions(tokd: Tokd, script: Script) -> None:
    script.on("session/open", late(**VIEW), events=OPENING)
    script.tell("requested", OTHER, profile="other", command_id="theirs")

    assert "other" not in tokd("session", "open", "--id", "mine").output


def test_a_session_that_was_refused_is_1_and_says_why_once(tokd: Tokd, script: Script) -> None:
    steps = (OPENING[0], ("ended", {"reason": "logged_out", "profile": "master"}))
    script.on("session/open", refused(Code.NOT_LOGGED_IN, "profile master is logged out"), events=steps)

    found = tokd("session", "open")

    assert (found.exit_code, found.stdout) == (1, "")
    assert found.stderr.splitlines()[1:] == [
        "refused: profile master is logged out",
        "  code:  not_logged_in",
        "  hint:  --no-require-login opens the window all the same",
    ]


def test_open_as_json_prints_the_reply_only(tokd: Tokd, script: Script) -> None:
    script.on("session/open", late(**VIEW), events=OPENING)

    found = tokd("session", "open", "--json")

    assert json.loads(found.stdout)["result"] == VIEW
    assert found.stderr == ""


def test_waiting_ends_with_the_session_and_says_why(tokd: Tokd, script: Script) -> None:
    more = ("ending_soon", {"seconds": 60})
    script.on("session/open", late(**VIEW), events=(*OPENING, more, ("ended", ENDED)))

    found = tokd("session", "open", "--wait")

    assert found.exit_code == 0
    assert f"closes in 60 s; `tokd session extend {ID} 5m` keeps it open" in found.stderr
    assert found.stdout.splitlines()[1:] == [
        f"session {ID} ended (closed_by_user): its window was closed; after 12 s"
    ]


def test_waiting_for_a_session_that_crashes_is_1(tokd: Tokd, script: Script) -> None:
    script.on("session/open", late(**VIEW), events=(*OPENING, ("ended", ENDED | {"reason": "crashed"})))

    assert tokd("session", "open", "--wait").exit_code == 1


def test_waiting_as_json_adds_the_last_event(tokd: Tokd, script: Script) -> None:
    script.on("session/open", late(**VIEW), events=(*OPENING, ("ended", ENDED)))

    reply, event = map(json.loads, tokd("session", "open", "--wait", "--json").stdout.splitlines())

    assert (reply["status"], event["type"], event["data"]["reason"]) == (
        "done", "dev.tokd.session.ended", "closed_by_user",
    )  # fmt: skip


def test_waiting_for_a_session_that_ended_long_ago_ends_at_once(tokd: Tokd, script: Script) -> None:
    def replay(request: Request) -> Bodies:
        assert request.answer is not None
        request.answer({**done(**VIEW)[0], "id": request.id, "final": True, "replayed": True})
        return []

    script.answers["session/open"] = replay
    script.on("session/list", done(sessions=[VIEW | {"state": "ended", "reason": "timeout"}]))

    assert "ended (timeout): its time was over" in tokd("session", "open", "--wait", "--id", "old").stdout


# -- the others ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "verb", "args"),
    [
        (["session", "close", ID, "--no-wait"], "session/close", {"session": ID}),
        (["session", "close", "--all", "--no-wait"], "session/close", {"all": True}),
        (["session", "list"], "session/list", {"ended": False, "limit": 50}),
        (["session", "list", "--ended", "--limit", "5"], "session/list", {"ended": True, "limit": 5}),
        (["session", "extend", "90"], "session/extend", {"seconds": 90}),
        (["session", "extend", ID, "1m30s"], "session/extend", {"session": ID, "seconds": 90}),
        (["session", "screenshot", ID], "session/screenshot", {"session": ID}),
        (["session", "screenshot", "--out", "a.jpg"], "session/screenshot", {"inline": True}),
        (["session", "check"], "session/check", {}),
        (["session", "show", ID], "session/show", {"session": ID}),
        (["profile", "list"], "profiles/list", {}),
        (["profile", "login", "shop", "--for", "1h"], "profiles/login", {"profile": "shop", "timeout_seconds": 3600}),
        (["profile", "promote", ID, "--as", "shop"], "profiles/promote", {"session": ID, "profile": "shop"}),
    ],
)  # fmt: skip
def test_a_command_becomes_its_verb(
    tokd: Tokd, script: Script, words: list[str], verb: str, args: dict[str, Any]
) -> None:
    script.on(verb, refused(Code.BUSY, "not now")[-1:])

    assert tokd(*words, "--json").exit_code == 1
    assert script.args(verb) == args


@pytest.mark.parametrize(
    "words",
    [
        pytest.param(["session", "open", "--for", "soon"], id="no span of time"),
        pytest.param(["session", "open", "--for", "-5"], id="less than nothing"),
        pytest.param(["session", "show"], id="no session"),
        pytest.param(["session", "extend"], id="no time"),
        pytest.param(["session", "extend", ID], id="a session and no time"),
        pytest.param(["session", "extend", ID, "5m", "5m"], id="two times"),
        pytest.param(["session", "close", ID, "--all"], id="one and all"),
        pytest.param(["profile", "login", "--for", "a day"], id="a login for no span of time"),
        pytest.param(["profile", "promote", "--as"], id="no name"),
    ],
)
def test_wrong_usage_is_2_and_sends_nothing(tokd: Tokd, stage: Stage, words: list[str]) -> None:
    assert tokd(*words).exit_code == 2
    assert stage.bus.requests == []


@pytest.mark.parametrize(
    "command", ["session open", "session close", "session list", "session extend", "session screenshot",
                "session check", "session show", "profile list", "profile login", "profile promote"],
)  # fmt: skip
def test_every_command_shows_an_example(tokd: Tokd, command: str) -> None:
    assert f"Example: tokd {command}" in tokd(*command.split(), "--help").stdout


def test_close_waits_for_the_end_and_prints_the_reason(tokd: Tokd, script: Script) -> None:
    over = VIEW | {"state": "ended", "reason": "closed_by_command"}
    script.on("session/close", done(session=ID, state="closing"))
    script.on("session/list", done(sessions=[VIEW]), done(sessions=[]), done(sessions=[over]))

    found = tokd("session", "close")

    assert (found.exit_code, found.stdout) == (
        0, f"session {ID} ended (closed_by_command): it was told to close\n",
    )  # fmt: skip


def test_close_as_json_adds_how_each_session_ended(tokd: Tokd, script: Script) -> None:
    over = [VIEW | {"state": "ended", "session": name} for name in (ID, OTHER)]
    script.on("session/close", done(closing=[ID, OTHER]))
    script.on("session/list", done(sessions=[]), done(sessions=over))

    lines = [json.loads(line) for line in tokd("session", "close", "--all", "--json").stdout.splitlines()]

    assert lines[0]["result"] == {"closing": [ID, OTHER]}
    assert lines[1:] == over


def test_close_without_waiting_asks_no_more(tokd: Tokd, script: Script, stage: Stage) -> None:
    script.on("session/close", done(session=ID, state="closing"))

    assert tokd("session", "close", "--no-wait").stdout == f"session {ID} is closing\n"
    assert [request.verb for request in stage.bus.requests] == ["session/close"]


def test_closing_all_of_none_says_so(tokd: Tokd, script: Script) -> None:
    script.on("session/close", done(closing=[])).on("session/list", done(sessions=[]))

    assert tokd("session", "close", "--all").stdout == "no session is open\n"


def test_sessions_are_listed_one_on_a_line_when_nobody_looks(tokd: Tokd, script: Script) -> None:
    script.on("session/list", done(sessions=[VIEW]))

    assert tokd("session", "list").stdout == (
        f"{ID}\ttiktok\tmaster\topen\tlogged in as ada\t{local_time(ENDS_AT)}\t\n"
    )


def test_show_prints_every_field_and_the_login_with_its_evidence(tokd: Tokd, script: Script) -> None:
    script.on("session/show", done(**VIEW))

    lines = [line.split(maxsplit=1) for line in tokd("session", "show", ID).stdout.splitlines()]

    assert ["session", ID] in lines
    assert ["state", "open"] in lines
    assert ["login", f"logged in as ada ({EVIDENCE[0]}), 0.9 s"] in lines


def test_extend_prints_the_new_end(tokd: Tokd, script: Script) -> None:
    script.on("session/extend", done(session=ID, ends_at=ENDS_AT))

    assert tokd("session", "extend", "5m").stdout == f"session {ID}: open until {local_hour(ENDS_AT)}\n"


def test_check_prints_the_login_with_its_evidence(tokd: Tokd, script: Script) -> None:
    doubt = {"state": "uncertain", "reason": "challenge", "evidence": ["visible: captcha"], "ms": 40}
    script.on("session/check", done(session=ID, login=doubt))

    assert tokd("session", "check").stdout == (
        f"session {ID}: login uncertain: the site asks for a person (a captcha or the like) (visible: captcha), 0.0 s\n"
    )


PICTURE = {"session": ID, "path": "/state/pictures/a.jpg", "bytes": 4, "media_type": "image/jpeg"}


def test_screenshot_prints_where_the_picture_is(tokd: Tokd, script: Script) -> None:
    script.on("session/screenshot", done(**PICTURE))

    assert tokd("session", "screenshot").stdout == "/state/pictures/a.jpg (image/jpeg, 4 B)\n"


def test_screenshot_writes_a_file_for_its_owner_only(tokd: Tokd, script: Script, folder: Path) -> None:
    script.on("session/screenshot", done(**PICTURE, image=base64.b64encode(b"jpeg").decode()))

    tokd("session", "screenshot", "--out", "page.jpg")

    assert (folder / "page.jpg").read_bytes() == b"jpeg"
    assert (folder / "page.jpg").stat().st_mode & 0o777 == 0o600


def test_screenshot_as_json_prints_no_picture(tokd: Tokd, script: Script) -> None:
    script.on("session/screenshot", done(**PICTURE, image=base64.b64encode(b"jpeg").decode()))

    found = tokd("session", "screenshot", "--out", "page.jpg", "--json")

    assert json.loads(found.stdout)["result"] == PICTURE


def test_a_picture_that_cannot_be_written_is_2(tokd: Tokd, script: Script) -> None:
    script.on("session/screenshot", done(**PICTURE, image=base64.b64encode(b"jpeg").decode()))

    assert tokd("session", "screenshot", "--out", "no/such/folder.jpg").exit_code == 2


# -- profiles ------------------------------------------------------------------------------------------------


def test_profiles_are_listed_one_on_a_line_when_nobody_looks(tokd: Tokd, script: Script) -> None:
    sighting = {"state": "logged_in", "username": "ada", "seen_at": "2026-01-01T10:00:00.000Z"}
    profile: dict[str, Any] = {
        "profile": "master", "size": 1_234_567, "files": 3, "used_at": "2026-01-01T09:00:00.000Z",
        "encryption": "v10", "in_use_by": "chromium, pid 4711", "login": sighting, "account": "shop",
    }  # fmt: skip
    script.on("profiles/list", done(profiles=[profile]))

    assert tokd("profile", "list").stdout.rstrip("\n").split("\t") == [
        "master", "1.2 MB", local_time(profile["used_at"]), "chromium, pid 4711", "v10",
        f"logged in as ada, {local_time(sighting['seen_at'])}", "shop",
    ]  # fmt: skip


LOGIN = (
    ("requested", {"profile": "shop"}),
    ("started", {"profile": "shop", "browser": "156.0", "sandbox": True}),
    ("opened", {"ends_at": ENDS_AT}),
)


def test_login_waits_for_the_window_and_says_what_is_next(tokd: Tokd, script: Script) -> None:
    end = ("ended", ENDED | {"profile": "shop"})
    script.on("profiles/login", late(**VIEW), events=(*LOGIN, end))

    found = tokd("profile", "login", "shop")

    assert found.exit_code == 0
    assert found.stdout.splitlines() == [
        "A browser window opens on profile shop: log in there, then close the window.",
        "the session ended (closed_by_user): its window was closed; after 12 s",
        "next: tokd session open --profile shop",
    ]


def test_a_login_that_is_refused_speaks_of_no_window(tokd: Tokd, script: Script) -> None:
    steps = (LOGIN[0], ("ended", {"reason": "failed", "profile": "shop"}))
    script.on("profiles/login", refused(Code.USER_DATA_LOCKED, "profile 'shop' is in use"), events=steps)

    found = tokd("profile", "login", "shop")

    assert (found.exit_code, found.stdout) == (1, "")


def test_a_login_whose_browser_dies_is_1(tokd: Tokd, script: Script) -> None:
    script.on("profiles/login", late(**VIEW), events=(*LOGIN, ("ended", ENDED | {"reason": "crashed"})))

    found = tokd("profile", "login", "shop")

    assert (found.exit_code, "next:" in found.stdout) == (1, False)


def test_ctrl_c_in_a_login_closes_the_window_cleanly_first(script: Script, stage: Stage) -> None:
    end = ("ended", ENDED | {"profile": "shop", "reason": "closed_by_command"})
    script.on("profiles/login", late(**VIEW), events=LOGIN)
    script.on("session/close", done(session=ID, state="closing"), events=(end,))
    process = subprocess.Popen(
        # A shell that runs the suite in the background has Ctrl-C ignored, and children inherit that.
        ["env", "--default-signal=INT", sys.executable, "-m", "daemon", "--set", f"daemon.state_dir={stage.folder}",
         "profile", "login", "shop"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    process.stdout.readline()

    process.send_signal(signal.SIGINT)
    told, complaints = process.communicate(timeout=20)

    assert (process.returncode, complaints.count("Traceback")) == (0, 0)
    assert script.args("session/close") == {"session": ID}
    assert told.splitlines()[-1] == "next: tokd session open --profile shop"


def test_promote_says_where_the_old_profile_is(tokd: Tokd, script: Script) -> None:
    end: dict[str, Any] = {
        "promoted_to": "shop",
        "backup": "/data/backups/shop-1",
        "reason": "closed_by_command",
    }
    script.on("profiles/promote", done(session=ID, state="closing"), events=(("ended", end),))

    found = tokd("profile", "promote")

    assert found.exit_code == 0
    assert found.stdout.splitlines() == [
        f"the clone of session {ID} is profile shop now",
        "the old one is kept in /data/backups/shop-1",
    ]


def test_promote_says_why_the_profile_stays(tokd: Tokd, script: Script) -> None:
    end: dict[str, Any] = {
        "promotion_error": "profile 'shop' has changed", "kept_clone": "/b/shop-clone-1", "reason": "closed_by_command",
    }  # fmt: skip
    script.on("profiles/promote", done(session=ID, state="closing"), events=(("ended", end),))

    found = tokd("profile", "promote")

    assert (found.exit_code, found.stderr.splitlines()) == (
        1,
        [
            "the profile was not replaced: profile 'shop' has changed",
            "its clone is kept in /b/shop-clone-1; moved beside the profiles it is one of its own",
        ],
    )


# -- watching ------------------------------------------------------------------------------------------------


def test_watch_tells_a_sessions_events_in_sentences(script: Script, stage: Stage) -> None:
    script.tell("ended", **ENDED)
    process = subprocess.Popen(
        ["env", "--default-signal=INT", sys.executable, "-m", "daemon", "--set", f"daemon.state_dir={stage.folder}",
         "watch", "--after", "0"],
        stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2],
    )  # fmt: skip
    assert process.stdout is not None
    line = process.stdout.readline()
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=10)

    assert line.endswith(
        f"session.ended  session/{ID}  profile master: ended (closed_by_user): its window was closed; after 12 s\n"
    )
