"""What once was taken with a shrug and is refused: guessed types, second headers, other letters, fields nobody reads."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.integration.http_stage import Stage, staged

POSTS = "/api/v1/posts"
TASKS = "/api/v1/tasks"
ORIGIN = "https://app.example"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("http"), cors_origins=(ORIGIN,)) as found:
        yield found


def heads(stage: Stage, *lines: str, method: str = "GET", path: str = POSTS, body: str = "") -> int:
    """Send these lines as they are; return the status."""
    head = [
        f"{method} {path} HTTP/1.1",
        "Host: localhost",
        f"Authorization: Bearer {stage.token()}",
        "Connection: close",
    ]
    if body:
        head.append(f"Content-Length: {len(body)}")
    return int(stage.say("\r\n".join([*head, *lines, "", body]).encode()).split(b" ", 2)[1])


@pytest.mark.parametrize(
    ("field", "value"),
    [("cover_ms", "5"), ("cover_ms", True), ("allow_comment", "no"), ("allow_comment", 0), ("draft", "yes"),
     ("title", 5), ("photo_cover", 1.5)],
)  # fmt: skip
def test_a_value_of_another_type_is_not_guessed(stage: Stage, field: str, value: Any) -> None:
    answer = stage.post(POSTS, {"account": "demo", "media": "clip.mp4", field: value})

    assert (answer.status, answer.body["error"]["field"]) == (422, field)


def test_a_whole_number_may_have_a_point(stage: Stage) -> None:
    assert stage.post("/tiktok/session/0000000000000001/extend", {"seconds": 60.0}).status == 404


@pytest.mark.parametrize(
    "kind",
    ["application/json; charset=utf-16", "application/json; charset=latin-1", "application/json; x=1",
     "application/json, text/plain", "application/json;charset=utf-8;charset=utf-16"],
)  # fmt: skip
def test_json_in_other_letters_is_refused(stage: Stage, kind: str) -> None:
    answer = stage.post(POSTS, raw=b"{}", Content_Type=kind)

    assert (answer.status, answer.code) == (415, "bad_json")


def test_a_length_of_thousands_of_digits_is_refused(stage: Stage) -> None:
    length = "Content-Length: " + "0" * 5000 + "2"

    assert heads(stage, "Content-Type: application/json", length, method="POST") in {400, 413}


def test_a_second_content_type_is_refused(stage: Stage) -> None:
    lines = ("Content-Type: application/json", "Content-Type: text/plain")

    assert heads(stage, *lines, method="POST", body="{}") == 415


def test_a_compressed_body_is_refused_as_one(stage: Stage) -> None:
    assert stage.post(POSTS, raw=b"\x1f\x8b", Content_Encoding="gzip").status == 415
    assert stage.post(POSTS, {}, Content_Encoding="identity").status == 422


def test_a_body_with_a_byte_order_mark_is_no_strict_json(stage: Stage) -> None:
    assert stage.post(POSTS, raw=b"\xef\xbb\xbf{}").status == 400


@pytest.mark.parametrize("path", [f"{POSTS}/p_1", "/tiktok/session/0000000000000001"])
def test_a_delete_with_fields_that_nobody_reads_is_refused(stage: Stage, path: str) -> None:
    assert stage.call("DELETE", path, {"force": True}).status == 422
    assert stage.call("DELETE", path, {}).status == 404


def test_a_long_name_of_an_unknown_field_does_not_come_back_whole(stage: Stage) -> None:
    answer = stage.post(POSTS, {"x" * 60_000: 1})

    assert (answer.status, len(answer.raw) < 1000) == (422, True)


@pytest.mark.parametrize(
    "lines",
    [
        (f"Origin: {ORIGIN}", "Origin: https://evil.example"),
        ("Origin: https://evil.example", f"Origin: {ORIGIN}"),
        ("Sec-Fetch-Site: cross-site", "Sec-Fetch-Site: same-origin"),
    ],
)
def test_a_second_origin_opens_no_door(stage: Stage, lines: tuple[str, ...]) -> None:
    assert heads(stage, *lines) == 403


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something-new"])
def test_what_another_port_of_this_machine_embeds_is_refused(stage: Stage, site: str) -> None:
    assert stage.get("/livez", Sec_Fetch_Site=site, Sec_Fetch_Mode="no-cors").status == 403
    assert stage.get("/livez", Sec_Fetch_Site="same-origin", Sec_Fetch_Mode="no-cors").status == 200


@pytest.mark.parametrize("lines", [("Last-Event-ID: 1", "Last-Event-ID: 2"), ("Last-Event-ID:",)])
def test_a_stream_begins_after_one_event_and_not_after_two(stage: Stage, lines: tuple[str, ...]) -> None:
    assert heads(stage, *lines, path="/api/v1/events") == 422


@pytest.mark.parametrize("key", ["", "a b", "é", "x" * 65, "x" * 10_000, "../x", "a,b", "%00"])
def test_a_key_of_odd_letters_is_refused(stage: Stage, key: str) -> None:
    answer = stage.post(TASKS, {"instance_id": "i"}, Idempotency_Key=key)

    assert (answer.status, answer.body["error"]["field"]) == (422, "Idempotency-Key")


def test_a_key_with_another_body_is_a_conflict(stage: Stage) -> None:
    assert stage.post(TASKS, {"instance_id": "i"}, Idempotency_Key="twice").status == 201

    answer = stage.post(TASKS, {"instance_id": "j"}, Idempotency_Key="twice")

    assert (answer.status, answer.code) == (409, "id_conflict")


def test_the_description_says_which_bodies_must_be_sent(stage: Stage) -> None:
    paths = stage.get("/openapi.json").body["paths"]

    assert paths[POSTS]["post"]["requestBody"]["required"]
    assert not paths[f"{TASKS}/{{task}}"]["patch"]["requestBody"][
        "required"
    ]  # every field of it may be left out


def test_the_description_says_that_a_delete_takes_a_key(stage: Stage) -> None:
    parameters = stage.get("/openapi.json").body["paths"][f"{POSTS}/{{post}}"]["delete"]["parameters"]

    assert "Idempotency-Key" in {found["name"] for found in parameters}


def test_what_is_no_http_is_not_kept_by_anybody(tmp_path: Path, stage: Stage) -> None:
    assert b"cache-control: no-store" in stage.say(b"hello\r\n\r\n").lower()
