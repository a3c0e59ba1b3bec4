"""Logging: one handler, two looks, and no secret in any line."""

import base64
import io
import json
import logging
import sys
import threading
import warnings
from collections.abc import Iterator
from urllib.parse import quote_plus

import pytest
import structlog

from config.logging import Redactor, configure, get_logger

SECRET = 'p"ss/wörd+1&2'


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, raising = root.handlers[:], root.level, logging.raiseExceptions
    hooks = sys.excepthook, threading.excepthook, sys.unraisablehook
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.raiseExceptions = raising
    sys.excepthook, threading.excepthook, sys.unraisablehook = hooks
    logging.captureWarnings(capture=False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def redactor() -> Redactor:
    return Redactor()


@pytest.fixture
def stream(redactor) -> io.StringIO:
    stream = io.StringIO()
    configure("info", "json", redactor, stream)
    return stream


def record(stream: io.StringIO) -> dict[str, str]:
    (line,) = stream.getvalue().splitlines()
    return json.loads(line)


def fail(message: str, cause: Exception | None = None) -> None:
    raise RuntimeError(message) from cause


@pytest.mark.parametrize(
    ("text", "cleaned"),
    [
        ("token act.Ab1!x~-2.z end", "token [redacted] end"),
        ("token rft.Ab1!x~-2 end", "token [redacted] end"),
        ("token clt.Ab1 end", "token [redacted] end"),
        ("act.abc%21def", "[redacted]"),
        (r"one\nact.abc", r"one\n[redacted]"),
        ("Authorization: Bearer abc.def", "Authorization: Bearer [redacted]"),
        ('{"Authorization": "bearer abc"}', '{"Authorization": "bearer [redacted]"}'),
        ("https://user:pa:s@host/x", "https://[redacted]@host/x"),
        ("postgresql://u:p@ss@db/x", "postgresql://[redacted]@db/x"),
        ("/upload?upload_id=1&upload_token=abc&x=2", "/upload?upload_id=1&upload_token=[redacted]&x=2"),
        ("client_secret=abc&x=1", "client_secret=[redacted]&x=1"),
        ("refresh_token=abc", "refresh_token=[redacted]"),
        ("access_token%3Dabc", "access_token%3D[redacted]"),
        ('{"access_token": "a b", "x": 1}', '{"access_token": "[redacted]", "x": 1}'),
        ("{'refresh_token': 'abc'}", "{'refresh_token': '[redacted]'}"),
        (r"{\"client_secret\": \"abc\"}", r"{\"client_secret\": \"[redacted]\"}"),
        ("/callback/?code=abc&state=x", "/callback/?code=[redacted]&state=x"),
        ("/callback/?state=x&code=abc", "/callback/?state=x&code=[redacted]"),
        ("code=abc&grant_type=authorization_code", "code=[redacted]&grant_type=authorization_code"),
    ],
)
def test_what_looks_like_a_secret_is_redacted(redactor, text, cleaned):
    assert redactor.clean(text) == cleaned


@pytest.mark.parametrize(
    "text",
    [
        "exit code=5",
        "a fact.checked by contract.signed",
        "http://127.0.0.1:8080/path",
        "http://127.0.0.1:8080/mail/a@b",
        "mail someone@example.com",
        "password_file=/etc/tokd/password",
    ],
)
def test_what_is_harmless_stays(redactor, text):
    assert redactor.clean(text) == text


def test_cleaning_twice_changes_nothing_more(redactor):
    once = redactor.clean("Bearer abc ://u:p@h access_token=abc act.abc ?code=1")

    assert redactor.clean(once) == once


@pytest.mark.parametrize(
    "form",
    [
        pytest.param(SECRET, id="plain"),
        pytest.param("p%22ss/w%C3%B6rd%2B1%262", id="quoted path"),
        pytest.param("p%22ss%2Fw%C3%B6rd%2B1%262", id="quoted query"),
        pytest.param(quote_plus(SECRET), id="quote_plus"),
        pytest.param(json.dumps(SECRET)[1:-1], id="json"),
        pytest.param(json.dumps(SECRET, ensure_ascii=False)[1:-1], id="json in utf-8"),
        pytest.param(json.dumps(json.dumps(SECRET))[3:-3], id="json in json"),
        pytest.param(base64.b64encode(SECRET.encode()).decode(), id="base64"),
        pytest.param(base64.urlsafe_b64encode(SECRET.encode()).decode().rstrip("="), id="url-safe base64"),
    ],
)
def test_a_live_secret_is_redacted_in_every_form(redactor, form):
    redactor.add(SECRET)

    assert redactor.clean(f"<{form}>") == "<[redacted]>"


@pytest.mark.parametrize("length", [6, 12, 13, 14, 15])
@pytest.mark.parametrize("before", ["", "a", "ab", "abc"])
@pytest.mark.parametrize("after", ["", "z", "zz"])
def test_base64_around_a_live_secret_keeps_at_most_its_edges(redactor, before, after, length):
    secret = "sesame-opens-it"[:length]
    redactor.add(secret)

    cleaned = redactor.clean(base64.b64encode(f"{before}{secret}{after}".encode()).decode())

    assert len(cleaned.replace("[redacted]", "")) <= 12


@pytest.mark.parametrize("user", ["a", "ab", "abc"])
def test_a_live_secret_is_redacted_inside_basic_authorization(redactor, user):
    redactor.add("opensesame-opensesame")
    header = base64.b64encode(f"{user}:opensesame-opensesame".encode()).decode()

    assert header[8:-4] not in redactor.clean(header)


def test_a_secret_inside_a_longer_one_leaves_no_rest(redactor):
    redactor.add("sesame")
    redactor.add("opensesame")

    assert redactor.clean("opensesame sesame") == "[redacted] [redacted]"


def test_a_secret_shorter_than_six_characters_is_ignored(redactor):
    redactor.add("12345")

    assert redactor.clean("12345") == "12345"


def test_the_oldest_secret_is_forgotten_when_there_are_too_many():
    redactor = Redactor(most=2)
    for secret in ("secret-1", "secret-2", "secret-3"):
        redactor.add(secret)

    assert redactor.clean("secret-1 secret-2 secret-3") == "secret-1 [redacted] [redacted]"


def test_a_secret_added_again_counts_as_new():
    redactor = Redactor(most=2)
    for secret in ("secret-1", "secret-2", "secret-1", "secret-3"):
        redactor.add(secret)

    assert redactor.clean("secret-1 secret-2 secret-3") == "[redacted] secret-2 [redacted]"


def test_a_forgotten_secret_leaves_shared_forms_in_place():
    redactor = Redactor(most=1)
    redactor.add("secret+1")
    redactor.add("secret%2B1")  # also the quoted form of the first

    assert redactor.clean("secret%2B1") == "[redacted]"


def test_secrets_may_be_added_while_others_clean():
    redactor, failures, stop = Redactor(most=50), [], threading.Event()

    def clean() -> None:
        while not stop.is_set():
            try:
                redactor.clean("secret-value-17 and more text " * 5)
            except Exception as error:  # noqa: BLE001
                failures.append(error)

    threads = [threading.Thread(target=clean) for _ in range(3)]
    for thread in threads:
        thread.start()
    for number in range(500):
        redactor.add(f"secret-value-{number}")
    stop.set()
    for thread in threads:
        thread.join()

    assert failures == []


def test_a_record_of_ours_is_one_json_line(stream):
    get_logger("tokd.posts").info("post claimed", post="p1", attempt=2)

    fields = record(stream)

    assert fields.pop("timestamp").endswith("Z")
    assert fields == {
        "event": "post claimed", "post": "p1", "attempt": 2, "level": "info", "logger": "tokd.posts",
    }  # fmt: skip


def test_a_record_of_the_standard_library_looks_the_same(stream):
    logging.getLogger("other").warning("%d left", 3)

    assert {"event": "3 left", "level": "warning", "logger": "other"}.items() <= record(stream).items()


def test_bound_context_is_in_every_record(stream):
    with structlog.contextvars.bound_contextvars(post="p1"):
        logging.getLogger("other").warning("late")

    assert record(stream)["post"] == "p1"


def test_a_live_secret_in_a_field_is_redacted(stream, redactor):
    redactor.add(SECRET)

    get_logger("tokd").info("login", value=SECRET, nested={"a": [SECRET]})

    assert (record(stream)["value"], record(stream)["nested"]) == ("[redacted]", {"a": ["[redacted]"]})


@pytest.mark.parametrize("look", ["console", "json"])
def test_a_secret_in_a_traceback_is_redacted(redactor, look):
    stream = io.StringIO()
    configure("info", look, redactor, stream)
    redactor.add(SECRET)

    try:
        fail(f"line one\n{SECRET}\nact.abc")
    except RuntimeError as error:
        try:
            fail("refresh_token=abcdef", error)
        except RuntimeError:
            get_logger("tokd").exception("failed")

    text = stream.getvalue()
    assert "Traceback" in text
    assert not [leak for leak in (SECRET, json.dumps(SECRET)[1:-1], "act.abc", "abcdef") if leak in text]


def test_a_traceback_shows_no_local_variables(stream):
    password = "hocus" + "pocus"

    try:
        fail(str(len(password)))
    except RuntimeError:
        get_logger("tokd").exception("failed")

    assert "hocuspocus" not in stream.getvalue()


def test_a_warning_is_logged_and_redacted(stream):
    warnings.warn("token act.abc", stacklevel=1)

    assert "token [redacted]" in record(stream)["event"]


def test_an_uncaught_exception_is_logged_and_redacted(stream):
    error = RuntimeError("token act.abc")

    sys.excepthook(type(error), error, None)

    assert record(stream)["exception"] == "RuntimeError: token [redacted]"


def test_an_uncaught_exception_in_a_thread_is_logged_and_redacted(stream):
    thread = threading.Thread(target=fail, args=("token act.abc",), name="uploader")
    thread.start()
    thread.join()

    fields = record(stream)
    assert fields["event"] == "uncaught exception in thread uploader"
    assert fields["exception"].endswith("RuntimeError: token [redacted]")


def test_an_exception_in_a_destructor_is_logged_and_redacted(stream):
    class Broken:
        def __del__(self) -> None:
            raise RuntimeError("token act.abc")

    Broken()

    assert record(stream)["exception"].endswith("RuntimeError: token [redacted]")


@pytest.mark.parametrize(
    "name", ["urllib3.connectionpool", "apscheduler.scheduler", "alembic", "sqlalchemy.engine"]
)
def test_a_chatty_library_stays_quiet_even_at_debug(redactor, name):
    stream = io.StringIO()
    configure("debug", "json", redactor, stream)

    logging.getLogger(name).info("GET /video/?upload_id=1")

    assert stream.getvalue() == ""


def test_a_chatty_library_is_not_louder_than_the_level(redactor):
    stream = io.StringIO()
    configure("error", "json", redactor, stream)

    logging.getLogger("urllib3").warning("retrying")

    assert stream.getvalue() == ""


def test_debug_records_of_ours_are_dropped_at_info(stream):
    get_logger("tokd").debug("detail")

    assert stream.getvalue() == ""


def test_a_console_line_is_readable(redactor):
    stream = io.StringIO()
    configure("info", "console", redactor, stream)

    get_logger("tokd").info("post claimed", post="p1", title="two words")

    assert (
        stream.getvalue().split("Z ")[1] == "info     post claimed  post=p1 title='two words' logger=tokd\n"
    )


@pytest.mark.parametrize("look", ["console", "json"])
def test_a_line_break_in_a_message_fakes_no_line(redactor, look):
    stream = io.StringIO()
    configure("info", look, redactor, stream)

    get_logger("tokd").info("a\nb", **{"field": "c\nd", "e\nf": 1})

    assert stream.getvalue().count("\n") == 1


def test_auto_is_json_where_there_is_no_terminal(redactor):
    stream = io.StringIO()
    configure("info", "auto", redactor, stream)

    get_logger("tokd").info("ready")

    assert record(stream)["event"] == "ready"


def test_a_record_that_cannot_be_formatted_is_not_lost(stream):
    logging.getLogger("other").warning("%d", "act.abc")

    assert stream.getvalue().startswith("unreadable log record of other, line ")


def test_configuring_again_keeps_one_handler(stream, redactor):
    configure("info", "json", redactor, stream)

    get_logger("tokd").info("ready")

    assert record(stream)["event"] == "ready"


def test_a_logger_made_and_used_before_configure_is_redacted_after(redactor):
    logger = get_logger("tokd.early")
    logger.debug("nobody listens yet")
    stream = io.StringIO()
    configure("info", "json", redactor, stream)

    logger.info("token act.abc")

    assert record(stream)["event"] == "token [redacted]"


def test_a_logger_of_structlog_itself_is_redacted_too(stream):
    structlog.get_logger("theirs").info("token act.abc")

    assert record(stream)["event"] == "token [redacted]"
