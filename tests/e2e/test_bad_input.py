"""Bad input over both doors: each a named error with its field, the daemon unharmed, nothing lost."""

import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Listener
from tests.daemons import make_clip
from tests.e2e.stage import Stage, staged
from tests.waiting import wait_until

BASE = "tokd/v1/main"
USER = "demo"
GOOD = {"account": USER, "media": "clip.mp4", "privacy": "SELF_ONLY", "at": "2040-01-01T00:00:00Z"}
DOORS = ["mqtt", "control"]
MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    # A second to settle: long enough for a test to write into a file under the daemon's eyes.
    settings = {"media.settle_s": "1"}
    with staged(tmp_path_factory.mktemp("bad"), settings, with_broker=True) as found:
        found.account(USER)
        _make_files(found.folder, found.daemon.media)
        yield found


def _make_files(outside: Path, media: Path) -> None:
    clip = make_clip(media / "clip.mp4")
    content = clip.read_bytes()
    secret = outside / "secret.mp4"
    shutil.copyfile(clip, secret)
    (media / "folder").mkdir()
    os.mkfifo(media / "pipe.mp4")
    (media / "link.mp4").symlink_to(secret)
    (media / "linked").symlink_to(outside)
    (media / "empty.mp4").touch()
    (media / "half.mp4").write_bytes(content[: len(content) // 2])
    (media / "text.mp4").write_text("not a film")
    (media / "garbage.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + os.urandom(100_000))
    (media / "header-only.mp4").write_bytes(content[:32])
    os.link(secret, media / "hard.mp4")
    make_clip(media / "tiny.mp4", size="320x240")
    shutil.copyfile(clip, media / "gone.mp4")
    with socket.socket(socket.AF_UNIX) as sock:
        where = Path.cwd()
        os.chdir(media)  # a socket's path may have 107 bytes only
        try:
            sock.bind("socket.mp4")
        finally:
            os.chdir(where)


@pytest.fixture(scope="module")
def listener(stage: Stage) -> Iterator[Listener]:
    with Listener(stage.broker, f"{BASE}/reply/bad/#") as found:
        yield found


Send = Callable[[str, bytes], dict[str, Any]]


@pytest.fixture(params=DOORS)
def send(request: pytest.FixtureRequest, stage: Stage, listener: Listener) -> Send:
    """Return a function that sends raw bytes as a command and returns the final answer."""
    return _over_mqtt(listener) if request.param == "mqtt" else _over_control(stage)


def _over_mqtt(listener: Listener) -> Send:
    def send(verb: str, raw: bytes) -> dict[str, Any]:
        topic = f"{BASE}/reply/bad/{verb}"
        before = len(listener.on(topic))
        listener.publish(f"{BASE}/cmd/bad/{verb}", raw)

        def final() -> dict[str, Any] | None:
            replies = [json.loads(payload) for payload in listener.on(topic)[before:]]
            return next((reply for reply in replies if reply["final"]), None)

        return dict(listener.wait(final, 20))

    return send


def _over_control(stage: Stage) -> Send:
    def send(verb: str, raw: bytes) -> dict[str, Any]:
        return _converse(stage, b'{"call":%s,"envelope":%s}\n' % (json.dumps(verb).encode(), raw or b"{}"))

    return send


def _converse(stage: Stage, line: bytes) -> dict[str, Any]:
    """Send a line to the control socket; an answer that the line was no command counts as a reply."""
    with socket.socket(socket.AF_UNIX) as sock:
        where = os.open(stage.daemon.state_dir, os.O_RDONLY | os.O_DIRECTORY)
        try:
            sock.settimeout(20)
            sock.connect(f"/proc/self/fd/{where}/control.sock")
        finally:
            os.close(where)
        with sock.makefile("rwb") as stream:
            stream.write(line)
            stream.flush()
            while True:
                answer = json.loads(stream.readline())
                if "error" in answer:
                    return answer
                if answer["reply"]["final"]:
                    return dict(answer["reply"])


def _order(**changes: Any) -> bytes:
    args = {key: value for key, value in (GOOD | changes).items() if value is not None}
    return json.dumps({"id": f"bad-{os.urandom(6).hex()}", "args": args}).encode()


def _assert_harmless(stage: Stage, answer: dict[str, Any], code: str, field: str | None) -> None:
    assert answer["error"]["code"] == code, answer
    assert answer["error"].get("field") == field, answer
    assert len(answer["error"]["message"]) > 10
    assert stage.is_alive()
    assert stage.daemon.call("post/list", {"account": USER})["result"]["posts"] == []


# -- files ---------------------------------------------------------------------------------------------------

FILES = {
    # a name, and the error with its problem
    "missing.mp4": ("media_missing", None),
    "folder": ("media_rejected", "directory"),
    "folder/": ("media_rejected", "directory"),
    ".": ("media_rejected", "directory"),
    "pipe.mp4": ("media_rejected", "not_a_file"),
    "socket.mp4": ("media_rejected", "not_a_file"),
    "link.mp4": ("media_outside_roots", None),
    "linked/secret.mp4": ("media_outside_roots", None),
    "../secret.mp4": ("media_outside_roots", None),
    "folder/../../secret.mp4": ("media_outside_roots", None),
    "/etc/passwd": ("media_outside_roots", None),
    "/dev/zero": ("media_outside_roots", None),
    "/proc/self/environ": ("media_outside_roots", None),
    "clip.mp4/inside.mp4": ("media_missing", None),
    "empty.mp4": ("media_rejected", "empty"),
    "half.mp4": ("media_rejected", "incomplete"),
    "header-only.mp4": ("media_rejected", "incomplete"),
    "text.mp4": ("media_rejected", "container"),
    "garbage.mp4": ("media_rejected", "incomplete"),
    "hard.mp4": ("media_rejected", "hard_link"),
    "tiny.mp4": ("media_rejected", "picture_size"),
    "x" * 300: ("media_rejected", "bad_name"),
}


@pytest.mark.parametrize("name", FILES, ids=lambda name: name[:24].replace("/", ":"))
def test_file_that_cannot_be_posted_is_refused_by_name(stage: Stage, send: Send, name: str) -> None:
    code, problem = FILES[name]
    answer = send("post/schedule", _order(media=name))
    _assert_harmless(stage, answer, code, "args.media")
    assert [found["code"] for found in answer["error"].get("problems", [])] == ([problem] if problem else [])


def test_file_that_is_still_being_written_is_refused(stage: Stage, send: Send) -> None:
    path = stage.daemon.media / "growing.mp4"
    shutil.copyfile(stage.daemon.media / "clip.mp4", path)
    ended = threading.Event()

    def write() -> None:
        with path.open("ab") as file:
            while not ended.wait(0.05):
                file.write(b"\0\0\0\x08free")
                file.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        answer = send("post/schedule", _order(media="growing.mp4"))
    finally:
        ended.set()
        writer.join()
    _assert_harmless(stage, answer, "media_rejected", "args.media")
    assert answer["error"]["problems"][0]["code"] == "still_being_written"
    assert answer["error"]["retryable"] is True


def test_file_changed_after_scheduling_fails_at_its_time(stage: Stage, send: Send) -> None:
    name = stage.account()
    path = stage.daemon.media / f"{name}.mp4"
    shutil.copyfile(stage.daemon.media / "clip.mp4", path)
    post = send("post/schedule", _order(account=name, media=path.name, at=None, draft=True))["result"]["post"]
    path.write_bytes(b"something else")
    stage.daemon.call("post/publish_now", {"post": post}, id=f"now-{post}")
    found = stage.daemon.wait_state(post, "failed")
    assert found["reason"] == "changed"
    assert stage.seen("inits", name) == []


# -- fields --------------------------------------------------------------------------------------------------

HEART = "\N{HEAVY BLACK HEART}"  # one UTF-16 unit
CLAP = "\N{CLAPPING HANDS SIGN}"  # two
FIELDS: dict[str, tuple[dict[str, Any], str, str]] = {
    "past time": ({"at": "2020-01-01T00:00:00Z"}, "bad_time", "args.at"),
    "time without zone": ({"at": "2040-01-01T00:00:00"}, "bad_time", "args.at"),
    "no time": ({"at": "tomorrow"}, "bad_time", "args.at"),
    "time out of range": ({"at": "9999-12-31T23:59:59-23:00"}, "bad_time", "args.at"),
    "time is a number": ({"at": 1}, "bad_field", "args.at"),
    "no time at all": ({"at": None}, "bad_field", "args.at"),
    "zone unknown": ({"zone": "Mars/Olympus"}, "bad_field", "args.zone"),
    "zone is a path": ({"zone": "../../etc/passwd"}, "bad_field", "args.zone"),
    "title one unit too long": ({"title": "a" * 2201}, "bad_field", "args.title"),
    "title of emoji too long": ({"title": CLAP * 1101}, "bad_field", "args.title"),
    "title with hashtags too long": ({"title": "a" * 2195, "hashtags": ["lang"]}, "bad_field", "args.title"),
    "title is a list": ({"title": ["a"]}, "bad_field", "args.title"),
    "privacy missing": ({"privacy": None}, "bad_field", "args.privacy"),
    "privacy unknown": ({"privacy": "EVERYBODY"}, "bad_field", "args.privacy"),
    "privacy not offered": ({"privacy": "PUBLIC_TO_EVERYONE"}, "bad_field", "args.privacy"),
    "branded and private": ({"brand_content": True}, "bad_field", "args.privacy"),
    "account unknown": ({"account": "nobody"}, "no_such_account", "args.account"),
    "account is a path": ({"account": "../demo"}, "bad_field", "args.account"),
    "account missing": ({"account": None}, "bad_field", "args.account"),
    "unknown field": ({"tittle": "x"}, "unknown_field", "args.tittle"),
    "nothing to post": ({"media": None}, "bad_field", "args.media"),
    "two things to post": ({"url": "https://cdn.example.com/v/a.mp4"}, "bad_field", "args.media"),
    "media is empty": ({"media": ""}, "bad_field", "args.media"),
    "media is a number": ({"media": 7}, "bad_field", "args.media"),
    "mode unknown": ({"mode": "story"}, "bad_field", "args.mode"),
    "cover negative": ({"cover_ms": -1}, "bad_field", "args.cover_ms"),
    "cover huge": ({"cover_ms": 10**30}, "bad_field", "args.cover_ms"),
    "comment is no boolean": ({"allow_comment": []}, "bad_field", "args.allow_comment"),
    "lateness unknown": ({"if_late": {"policy": "maybe"}}, "bad_field", "args.if_late.policy"),
    "unknown field inside": ({"if_late": {"policy": "post", "x": 1}}, "unknown_field", "args.if_late.x"),
    "hashtag with a space": ({"hashtags": ["a b"]}, "bad_field", "args.hashtags.0"),
    "address of another host": (
        {"media": None, "url": "https://evil.example/a.mp4"},
        "media_rejected",
        "args.url",
    ),
    "address without tls": ({"media": None, "url": "http://cdn.example.com/v/a.mp4"}, "media_rejected", "args.url"),
    "address with dots": ({"media": None, "url": "https://cdn.example.com/v/../a.mp4"}, "media_rejected", "args.url"),
    "address with a user": ({"media": None, "url": "https://a@cdn.example.com/v/a.mp4"}, "media_rejected", "args.url"),
    "address is a file": ({"media": None, "url": "file:///etc/passwd"}, "media_rejected", "args.url"),
    "36 photos": (
        {"media": None, "photos": ["https://cdn.example.com/v/a.jpg"] * 36},
        "bad_field",
        "args.photos",
    ),
    "a bad photo": (
        {"media": None, "photos": ["https://cdn.example.com/v/a.jpg", "https://evil.example/b.jpg"]},
        "media_rejected",
        "args.photos.1",
    ),
    "cover beyond the photos": (
        {"media": None, "photos": ["https://cdn.example.com/v/a.jpg"], "photo_cover": 1},
        "bad_field",
        "args.photo_cover",
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", FIELDS)
def test_bad_field_is_named(stage: Stage, send: Send, what: str) -> None:
    changes, code, field = FIELDS[what]
    _assert_harmless(stage, send("post/schedule", _order(**changes)), code, field)


def test_title_of_exactly_2200_units_is_taken(stage: Stage, send: Send) -> None:
    name = stage.account()
    for title in ("a" * 2200, HEART * 2200, CLAP * 1100):
        reply = send("post/schedule", _order(account=name, title=title))
        assert reply["status"] == "done", reply


def test_privacy_that_the_creator_has_withdrawn_since_fails_with_advice(stage: Stage, send: Send) -> None:
    name = stage.account(privacy_level_options=["SELF_ONLY", "MUTUAL_FOLLOW_FRIENDS"])
    order = _order(account=name, privacy="MUTUAL_FOLLOW_FRIENDS", at=None, draft=True)
    post = send("post/schedule", order)["result"]["post"]
    stage.simulator.post("users", {"name": name, "privacy_level_options": ["SELF_ONLY"]})
    stage.daemon.call("post/publish_now", {"post": post}, id=f"now-{post}")
    found = stage.daemon.wait_state(post, "failed")
    assert found["reason"] == "privacy_not_offered"
    assert "SELF_ONLY" in found["detail"]
    assert stage.seen("inits", name) == []


# -- envelopes -----------------------------------------------------------------------------------------------

ORDER = json.dumps(GOOD).encode()
RAW: dict[str, tuple[bytes, str, str | None]] = {
    "NaN": (b'{"id":"n","args":{"cover_ms":NaN}}', "bad_json", None),
    "infinity": (b'{"id":"n","args":{"cover_ms":-Infinity}}', "bad_json", None),
    "number too large": (b'{"id":"n","args":{"cover_ms":1e999}}', "bad_json", None),
    "number of 5,000 digits": (b'{"id":"n","args":{"cover_ms":' + b"9" * 5000 + b"}}", "bad_json", None),
    "duplicate keys": (b'{"id":"n","args":%s,"args":{}}' % ORDER, "bad_json", None),
    "duplicate keys inside": (b'{"id":"n","args":{"account":"a","account":"demo"}}', "bad_json", None),
    "deep nesting": (b'{"id":"n","args":{"title":' + b"[" * 20 + b"]" * 20 + b"}}", "bad_json", None),
    "very deep nesting": (b'{"id":"n","args":{"title":' + b"[" * 30_000 + b"]" * 30_000 + b"}}", "bad_json", None),
    "NUL in a text": (b'{"id":"n","args":{"account":"de\\u0000mo"}}', "bad_json", None),
    "half a surrogate pair": (b'{"id":"n","args":{"title":"\\ud83d"}}', "bad_json", None),
    "no JSON": (b"schedule please", "bad_json", None),
    "cut JSON": (b'{"id":"n","args":{"account":"de', "bad_json", None),
    "no UTF-8": (b'{"id":"n","args":{"title":"\xff\xfe"}}', "bad_json", None),
    "a list": (b"[1,2]", "bad_json", None),
    "a text": (b'"now"', "bad_json", None),
    "null": (b"null", "bad_json", None),
    "too large": (b'{"id":"n","args":{"title":"' + b"a" * 66_000 + b'"}}', "too_large", None),
    "no id": (b'{"args":%s}' % ORDER, "id_required", "id"),
    "id is a number": (b'{"id":7,"args":%s}' % ORDER, "bad_field", "id"),
    "id is too long": (b'{"id":"%s","args":%s}' % (b"x" * 65, ORDER), "bad_field", "id"),
    "unknown envelope field": (b'{"id":"n","argss":%s}' % ORDER, "unknown_field", "argss"),
    "args is a list": (b'{"id":"n","args":[]}', "bad_field", "args"),
    "no args": (b'{"id":"n"}', "bad_field", "args.account"),
    "dry_run is a text": (b'{"id":"n","dry_run":"yes","args":%s}' % ORDER, "bad_field", "dry_run"),
    "ttl is negative": (b'{"id":"n","ttl_s":-1,"args":%s}' % ORDER, "bad_field", "ttl_s"),
    "expiry without zone": (b'{"id":"n","expires_at":"2040-01-01T00:00:00","args":%s}' % ORDER, "bad_time", "expires_at"),
}  # fmt: skip


@pytest.mark.parametrize("what", RAW)
def test_bad_envelope_is_named(stage: Stage, send: Send, what: str) -> None:
    raw, code, field = RAW[what]
    _assert_harmless(stage, send("post/schedule", raw), code, field)


@pytest.mark.parametrize("verb", ["post/nothing", "post", "a/b/c", "post/schedule/now", "system/PING", "п/ы"])
def test_unknown_verb_is_answered(stage: Stage, send: Send, verb: str) -> None:
    _assert_harmless(stage, send(verb, b"{}"), "unknown_command", None)


def test_ten_megabytes_over_mqtt_are_answered(stage: Stage, listener: Listener) -> None:
    raw = b'{"id":"n","args":{"title":"' + b"a" * 10 * MEGABYTE + b'"}}'
    _assert_harmless(stage, _over_mqtt(listener)("post/schedule", raw), "too_large", None)


def test_ten_megabytes_over_the_control_socket_are_answered(stage: Stage) -> None:
    line = b'{"call":"post/schedule","envelope":{"args":{"title":"' + b"a" * 10 * MEGABYTE + b'"}}}\n'
    _assert_harmless(stage, _converse(stage, line), "too_large", None)


def test_command_of_a_forbidden_actor_is_refused(stage: Stage) -> None:
    with Listener(stage.broker, f"{BASE}/reply/#") as listener:
        listener.publish(f"{BASE}/cmd/_self/system/pause", b"{}")
        [reply, *_] = listener.wait_for(f"{BASE}/reply/_self/system/pause")
    assert json.loads(reply)["error"]["code"] == "forbidden"
    assert stage.daemon.rows("SELECT value FROM flag WHERE name = 'paused' AND value IS NOT NULL") == []


@pytest.mark.parametrize(
    ("verb", "args", "code", "field"),
    [
        ("post/status", {"post": "p_unknown"}, "no_such_post", "args.post"),
        ("post/status", {"post": "../../etc"}, "bad_field", "args.post"),
        ("post/cancel", {"post": "p_unknown"}, "no_such_post", "args.post"),
        ("post/reschedule", {"post": "p_unknown", "at": "now"}, "no_such_post", "args.post"),
        ("post/resolve", {"post": "p_unknown", "outcome": "published"}, "no_such_post", "args.post"),
        ("post/resolve", {"post": "p_unknown", "outcome": "perhaps"}, "bad_field", "args.outcome"),
        ("post/list", {"limit": 100_000}, "bad_field", "args.limit"),
        ("post/list", {"state": "lost"}, "bad_field", "args.state"),
        ("post/list", {"cursor": "x' OR 1=1 --"}, "bad_field", "args.cursor"),
        ("events/replay", {"after": -1}, "bad_field", "args.after"),
        ("events/replay", {"after": 10**40}, "bad_field", "args.after"),
        ("system/ping", {"loud": True}, "unknown_field", "args.loud"),
    ],
)
def test_bad_arguments_of_other_verbs_are_named(
    stage: Stage, send: Send, verb: str, args: dict[str, Any], code: str, field: str
) -> None:
    answer = send(verb, json.dumps({"id": f"bad-{os.urandom(6).hex()}", "args": args}).encode())
    _assert_harmless(stage, answer, code, field)


def test_control_socket_survives_lines_that_are_no_commands(stage: Stage) -> None:
    for line, code in (
        (b"\xff\xfe\n", "bad_json"),
        (b"[" * 60_000 + b"\n", "bad_json"),
        (b"{}\n", "unknown_field"),
        (b'{"call":7,"envelope":{}}\n', "bad_field"),
        (b'{"call":"system/ping","envelope":{},"actor":"_self"}\n', "bad_field"),
        (b'{"watch":{"after":"x"}}\n', "bad_field"),
    ):
        assert _converse(stage, line)["error"]["code"] == code, line[:40]
    assert stage.is_alive()


def test_nothing_was_lost_between_all_the_bad_input(stage: Stage, send: Send) -> None:
    name = stage.account()
    post = send("post/schedule", _order(account=name, at="now"))["result"]["post"]
    stage.daemon.wait_state(post, "published")
    assert len(stage.seen("publishes", name)) == 1


def test_bad_input_leaves_no_error_in_the_log(stage: Stage) -> None:
    wait_until(stage.is_alive)
    lines = stage.daemon.log.read_text().splitlines()
    assert [line for line in lines if '"level": "error"' in line or '"level": "critical"' in line] == []
