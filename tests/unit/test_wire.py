"""The strict reader: bytes in, a command or the reason why it is none out, and never an exception."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from daemon.domain.commands import VERBS, SchedulePost
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import as_json
from daemon.domain.wire import MAX_BYTES, Request, parse_object, read_request
from tests.fakes.values import NOW


def read(raw: bytes | dict[str, Any], verb: str = "post/cancel", **more: Any) -> Request:
    body = raw if isinstance(raw, bytes) else json.dumps(raw).encode()
    request, _ = read_request(
        actor="me", verb=verb, raw=body, transport="mqtt", received_at=NOW, **more
    )  # fmt: skip
    return request


def refusal(raw: bytes | dict[str, Any], verb: str = "post/cancel", **more: Any) -> Rejected:
    found = read(raw, verb, **more).error
    assert found is not None, "it was taken"
    return found


# -- bytes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(b"{", id="cut off"),
        pytest.param(b"{} x", id="something behind"),
        pytest.param(b"{}{}", id="two objects"),
        pytest.param(b"[]", id="a list"),
        pytest.param(b"null", id="null"),
        pytest.param(b'"text"', id="a text"),
        pytest.param(b"5", id="a number"),
        pytest.param(b" ", id="a blank"),
        pytest.param(b"\x00", id="a NUL byte"),
        pytest.param(b"\xff\xfe", id="no UTF-8"),
        pytest.param(b'{"id":"\xc3\x28"}', id="broken UTF-8 inside"),
        pytest.param(b"\xef\xbb\xbf{}", id="a byte order mark"),
        pytest.param("{}".encode("utf-16"), id="UTF-16"),
        pytest.param(b'{"a":NaN}', id="NaN"),
        pytest.param(b'{"a":Infinity}', id="infinity"),
        pytest.param(b'{"a":-Infinity}', id="minus infinity"),
        pytest.param(b'{"a":1e999}', id="a number beyond a double"),
        pytest.param(b'{"a":-1e999}', id="a number beyond a double, below zero"),
        pytest.param(b'{"a":' + b"9" * 5000 + b"}", id="a number of 5,000 digits"),
        pytest.param(b'{"a":1,"a":2}', id="a key twice"),
        pytest.param(b'{"b":{"a":1,"a":1}}', id="a key twice further down"),
        pytest.param(b'{"a":"\\ud800"}', id="half a surrogate pair"),
        pytest.param(b'{"a":"\\udc00\\ud800"}', id="a pair the wrong way round"),
        pytest.param(b'{"\\ud800":1}', id="half a pair in a key"),
        pytest.param(b'{"a":"\\u0000"}', id="a NUL character"),
        pytest.param(b'{"\\u0000":1}', id="a NUL character in a key"),
        pytest.param(b'{"a":"\n"}', id="a raw line break in a text"),
        pytest.param(b"{'a':1}", id="single quotes"),
        pytest.param(b'{"a":1,}', id="a comma too many"),
        pytest.param(b'{"a":01}', id="a leading zero"),
        pytest.param(b"[" * 60_000, id="60,000 open lists"),
        pytest.param(b'{"a":' * 9 + b"1" + b"}" * 9, id="nine levels"),
    ],
)
def test_what_is_not_one_strict_object_is_bad_json(raw: bytes) -> None:
    assert refusal(raw).code is Code.BAD_JSON


def test_an_empty_payload_is_an_empty_object() -> None:
    assert parse_object(b"") == {}


def test_a_whole_surrogate_pair_is_one_character() -> None:
    assert parse_object(b'{"a":"\\ud83c\\udfac"}') == {"a": "🎬"}


def test_eight_levels_are_read() -> None:
    assert parse_object(b'{"a":' * 8 + b"1" + b"}" * 8)


@pytest.mark.parametrize(("size", "code"), [(MAX_BYTES, Code.UNKNOWN_FIELD), (MAX_BYTES + 1, Code.TOO_LARGE)])
def test_64_kib_is_the_most(size: int, code: Code) -> None:
    raw = b'{"x":"' + b"a" * (size - 8) + b'"}'
    assert len(raw) == size

    assert refusal(raw).code is code


# -- the envelope --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("good", ["a", "A-z_0.9:x", "c" * 64, "0"])
def test_a_good_id_is_kept(good: str) -> None:
    assert read({"id": good, "args": {"post": "p_1"}}).id == good


@pytest.mark.parametrize(
    "bad", ["", "c" * 65, "a b", "a/b", "ä", "a\n", "#", "+", "~x", 5, True, ["a"], {"a": 1}]
)
def test_a_bad_id_is_refused_by_name_and_not_echoed(bad: object) -> None:
    request = read({"id": bad, "args": {"post": "p_1"}})

    assert request.error is not None
    assert (request.error.code, request.error.field, request.id) == (Code.BAD_FIELD, "id", None)


def test_a_refused_command_keeps_its_good_id() -> None:
    assert read({"id": "c-1", "args": {"nonsense": 1}}).id == "c-1"


@pytest.mark.parametrize(
    ("envelope", "field", "hint"),
    [
        ({"idd": "x"}, "idd", "did you mean 'id'"),
        ({"dryrun": True}, "dryrun", "did you mean 'dry_run'"),
        ({"ttl": 5}, "ttl", "did you mean 'ttl_s'"),
        ({"post": "p_1"}, "post", 'go into "args"'),
    ],
)
def test_an_unknown_field_of_the_envelope_is_named_with_a_hint(
    envelope: dict[str, Any], field: str, hint: str
) -> None:
    found = refusal(envelope)

    assert (found.code, found.field) == (Code.UNKNOWN_FIELD, field)
    assert hint in found.message


@pytest.mark.parametrize("value", ["true", 1, 0, None, []])
def test_dry_run_is_true_or_false(value: object) -> None:
    assert refusal({"dry_run": value, "args": {"post": "p_1"}}).field == "dry_run"


@pytest.mark.parametrize("args", [[], "x", 5, None, True])
def test_args_are_an_object(args: object) -> None:
    found = refusal({"args": args})

    assert (found.code, found.field) == (Code.BAD_FIELD, "args")


@pytest.mark.parametrize("ttl", [0, -1, True, "5", [], 366 * 86400 + 1, 10**400])
def test_a_bad_time_to_live_is_refused(ttl: object) -> None:
    found = refusal({"ttl_s": ttl, "args": {"post": "p_1"}})

    assert (found.code, found.field) == (Code.BAD_FIELD, "ttl_s")


@pytest.mark.parametrize(
    "text",
    [
        "2026-12-01T09:00:00",
        "soon",
        5,
        "",
        "2026-13-01T00:00:00Z",
        "0001-01-01T00:00:00+14:00",
        ["2026"],
        True,
    ],
)
def test_a_bad_expiry_is_refused(text: object) -> None:
    found = refusal({"expires_at": text, "args": {"post": "p_1"}})

    assert (found.code, found.field) == (Code.BAD_TIME, "expires_at")


def test_the_earliest_of_all_expiries_counts() -> None:
    later = (NOW + timedelta(hours=1)).isoformat()
    args = {"post": "p_1"}

    assert read({"args": args}).expires_at is None
    assert read({"args": args}, expires_in_s=9).expires_at == NOW + timedelta(seconds=9)
    assert read({"args": args, "ttl_s": 5, "expires_at": later}).expires_at == NOW + timedelta(seconds=5)
    assert read({"args": args, "ttl_s": 0.5}, expires_in_s=9).expires_at == NOW + timedelta(seconds=0.5)
    assert read({"args": args, "expires_at": later}, expires_in_s=9999).expires_at == NOW + timedelta(hours=1)


# -- verbs and arguments -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("verb", "hint"),
    [
        ("post/cancle", "post/cancel"),
        ("post/scedule", "post/schedule"),
        ("x", "system/describe"),
        ("", "describe"),
    ],
)
def test_an_unknown_command_is_refused_with_a_hint(verb: str, hint: str) -> None:
    found = refusal({}, verb)

    assert found.code is Code.UNKNOWN_COMMAND
    assert hint in found.message


def test_a_command_with_secrets_goes_through_the_control_socket_only() -> None:
    args = {"account": "ada", "access_token": "aaa", "refresh_token": "rrr", "open_id": "o"}

    assert refusal({"args": args}, "account/import").code is Code.FORBIDDEN
    assert read({"args": args}, "account/import", is_local=True).error is None


@pytest.mark.parametrize("verb", [verb.name for verb in VERBS.values() if verb.needs_id])
def test_a_command_that_costs_needs_an_id(verb: str) -> None:
    found = refusal({"args": {}}, verb)

    assert (found.code, found.field) == (Code.ID_REQUIRED, "id")


def test_a_dry_run_needs_no_id() -> None:
    args = {"account": "ada", "media": "a.mp4", "at": "now"}

    assert read({"args": args, "dry_run": True}, "post/schedule").error is None


@pytest.mark.parametrize(
    ("args", "code", "field", "words"),
    [
        ({"pots": "p_1"}, Code.BAD_FIELD, "args.post", "required"),
        ({"post": "p_1", "pots": 1}, Code.UNKNOWN_FIELD, "args.pots", "did you mean 'post'"),
        (
            {"post": "x"},
            Code.BAD_FIELD,
            "args.post",
            "must be a post's id, such as p_7Kd2; post/list tells them",
        ),
        ({"post": 5}, Code.BAD_FIELD, "args.post", "string"),
        ({"post": "p_1", "x" * 500: 1}, Code.UNKNOWN_FIELD, "args." + "x" * 500, "knows no field"),
    ],
)
def test_bad_arguments_are_refused_by_name(args: dict[str, Any], code: Code, field: str, words: str) -> None:
    found = refusal({"args": args})

    assert (found.code, found.field) == (code, field)
    assert words in found.message


def test_a_refusal_never_shows_what_was_sent_in_a_secret_field() -> None:
    args = {"account": "ada", "access_token": "SECRET\nSECRET", "refresh_token": 5, "open_id": "o"}

    found = refusal({"args": args}, "account/import", is_local=True)

    assert "SECRET" not in as_json(found.as_dict())


@pytest.mark.parametrize("token", ["", " ", "a b", "a\nb", "ä", "a\tb"])
def test_a_token_is_one_line_of_visible_ascii(token: str) -> None:
    args = {"account": "ada", "access_token": token, "refresh_token": "rrr", "open_id": "o"}

    assert refusal({"args": args}, "account/import", is_local=True).field == "args.access_token"


def test_secrets_are_masked_in_the_stored_body() -> None:
    args = {"account": "ada", "access_token": "SECRET-1", "refresh_token": "SECRET-2", "open_id": "o"}

    request = read({"args": args}, "account/import", is_local=True)

    assert "SECRET" not in request.body
    assert "SECRET" not in repr(request)
    assert json.loads(request.body)["args"]["account"] == "ada"


def test_the_same_order_in_another_spelling_has_the_same_hash() -> None:
    one = read(b'{"id":"a","args":{"post":"p_1","zone":"UTC","at":"now"}}', "post/reschedule")
    two = read(b'{ "args": {"at":"now", "zone":"UTC", "post":"p_\\u0031"}, "id":"b" }', "post/reschedule")

    assert one.body_hash == two.body_hash


@pytest.mark.parametrize(
    ("raw", "verb"),
    [
        pytest.param({"args": {"post": "p_2"}}, "post/cancel", id="another argument"),
        pytest.param({"args": {"post": "p_1"}}, "post/status", id="another verb"),
        pytest.param({"args": {"post": "p_1"}, "dry_run": True}, "post/cancel", id="a dry run"),
    ],
)
def test_another_order_has_another_hash(raw: dict[str, Any], verb: str) -> None:
    assert read(raw, verb).body_hash != read({"args": {"post": "p_1"}}).body_hash


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("caption", "title"),
        ("privacy_level", "privacy"),
        ("brand_content_toggle", "brand_content"),
        ("brand_organic_toggle", "brand_organic"),
        ("video_cover_timestamp_ms", "cover_ms"),
    ],
)
def test_the_names_of_tiktok_are_understood(old: str, new: str) -> None:
    value: object = True if "toggle" in old else 5 if "ms" in old else "SELF_ONLY"

    request = read({"id": "a", "args": {"account": "ada", old: value}}, "post/schedule")

    assert isinstance(request.command, SchedulePost)
    assert getattr(request.command, new) == value


# -- anything at all -----------------------------------------------------------------------------------------

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        ["now", "p_1", "ada", "2026-12-01T09:00:00Z", "9999-12-31T23:59:59-12:00", "\ud800", "\0"]
    ),
)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    TEXTS,
    st.sampled_from([2**63, -(2**63) - 1, 10**30]),
)
SHAPES = st.recursive(
    SCALARS, lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(TEXTS, inner, max_size=4))
)
FIELDS = sorted({field for verb in VERBS.values() for field in verb.model.model_fields})
ENVELOPES = st.fixed_dictionaries(
    {},
    optional={
        "id": st.one_of(SHAPES, st.just("c-1")),
        "args": st.one_of(SHAPES, st.dictionaries(st.sampled_from(FIELDS), SHAPES, max_size=8)),
        "expires_at": SHAPES, "ttl_s": SHAPES, "dry_run": SHAPES, "reply_to": SHAPES,
    },
)  # fmt: skip
RAW = st.one_of(
    st.binary(max_size=300),
    SHAPES.map(lambda value: json.dumps(value).encode()),
    ENVELOPES.map(lambda value: json.dumps(value).encode()),
)


@settings(
    max_examples=2000, deadline=None, database=None, suppress_health_check=list(HealthCheck), derandomize=True
)
@given(raw=RAW, verb=st.one_of(st.sampled_from(sorted(VERBS)), st.text(max_size=10)), local=st.booleans())
def test_no_input_raises_and_every_answer_can_be_written(raw: bytes, verb: str, local: bool) -> None:
    request = read(raw, verb, is_local=local)

    assert (request.command is None) == (request.error is not None)
    if request.error is not None:
        as_json(request.error.as_dict()).encode()
    as_json([request.id, request.body]).encode()
