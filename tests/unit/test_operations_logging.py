"""The log at run time: another level for a while, entries for systemd's journal, every thread's stack on a signal."""

import io
import itertools
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from config.journal import JournalHandler, is_journal
from config.logging import Redactor, configure, get_logger, set_level
from tests.waiting import wait_until


@pytest.fixture(autouse=True)
def _restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(capture=False)


@pytest.fixture
def stream() -> io.StringIO:
    stream = io.StringIO()
    configure("info", "json", Redactor(), stream)
    return stream


def test_another_level_counts_at_once_and_can_be_taken_back(stream: io.StringIO) -> None:
    log = logging.getLogger("tokd.x")

    log.debug("one")
    set_level("debug")
    log.debug("two")
    set_level("error")
    log.warning("three")

    assert [word for word in ("one", "two", "three") if word in stream.getvalue()] == ["two"]


def test_a_level_for_a_while_goes_back_by_itself(stream: io.StringIO) -> None:
    log = logging.getLogger("tokd.x")
    set_level("debug", 0.3)
    log.debug("during")

    def is_over() -> bool:
        log.debug("probe")
        return logging.getLogger().level == logging.INFO

    wait_until(is_over, what="the usual level again")
    log.debug("after")

    assert "during" in stream.getvalue()
    assert "after" not in stream.getvalue()


def test_the_chatty_stay_quiet_at_debug(stream: io.StringIO) -> None:
    set_level("debug")

    logging.getLogger("urllib3").debug("GET /upload?upload_token=x")

    assert stream.getvalue() == ""


# -- the journal -------------------------------------------------------------------------------------------


class Journal:
    """A real datagram socket in the journal's place."""

    def __init__(self, path: Path) -> None:
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(str(path))
        self.socket.settimeout(5)

    def entry(self) -> dict[str, str]:
        """Return one entry, read as systemd's protocol says."""
        data, found = self.socket.recv(1 << 20), {}
        while data:
            head, _, data = data.partition(b"\n")
            name, is_plain, value = head.partition(b"=")
            if not is_plain:
                size = int.from_bytes(data[:8], "little")
                value, data = data[8 : 8 + size], data[9 + size :]
            found[name.decode()] = value.decode()
        return found


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    found = Journal(tmp_path / "journal")
    yield found
    found.socket.close()


@pytest.fixture
def spare() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def log(journal: Journal, tmp_path: Path, spare: io.StringIO) -> Iterator[logging.Logger]:
    configure("info", "json", Redactor(), spare)
    redactor = Redactor()
    redactor.add("hunter2222")
    handler = JournalHandler(redactor, logging.StreamHandler(spare), tmp_path / "journal")
    logging.getLogger().handlers[:] = [handler]
    yield logging.getLogger("tokd.x")
    handler.close()


@pytest.mark.parametrize(
    ("level", "priority"), [("info", "6"), ("warning", "4"), ("error", "3"), ("critical", "2")]
)
def test_an_entry_has_its_text_its_priority_and_its_source(
    journal: Journal, log: logging.Logger, level: str, priority: str
) -> None:
    log.log(logging.getLevelNamesMapping()[level.upper()], "post %s is out", "p_7Q2")

    assert journal.entry() == {
        "MESSAGE": "post p_7Q2 is out", "PRIORITY": priority, "SYSLOG_IDENTIFIER": "tokd", "TOKD_LOGGER": "tokd.x",
    }  # fmt: skip


def test_what_a_record_says_besides_is_a_field_of_its_own(journal: Journal, log: logging.Logger) -> None:
    log.info("out", extra={"post": "p_7Q2", "action": "publish"})

    entry = journal.entry()
    assert (entry["TOKD_POST"], entry["TOKD_ACTION"]) == ("p_7Q2", "publish")


def test_structlogs_fields_come_along(journal: Journal, log: logging.Logger) -> None:
    get_logger(log.name).info("out", account="ada")

    entry = journal.entry()
    assert (entry["MESSAGE"], entry["TOKD_ACCOUNT"]) == ("out", "ada")


def test_lines_stay_one_entry_and_cannot_fake_a_field(journal: Journal, log: logging.Logger) -> None:
    log.info("one\nPRIORITY=0")

    entry = journal.entry()
    assert (entry["MESSAGE"], entry["PRIORITY"]) == ("one\nPRIORITY=0", "6")


def test_a_traceback_is_in_the_entry_and_no_secret(journal: Journal, log: logging.Logger) -> None:
    try:
        raise ValueError("the password is hunter2222")
    except ValueError:
        log.exception("it failed")

    text = journal.entry()["MESSAGE"]
    assert "Traceback" in text
    assert "hunter2222" not in text


def test_a_very_long_text_is_cut(journal: Journal, log: logging.Logger) -> None:
    log.info("x" * 1_000_000)

    assert 10_000 < len(journal.entry()["MESSAGE"]) < 100_000


def test_without_a_journal_the_other_handler_has_it(
    journal: Journal, log: logging.Logger, tmp_path: Path, spare: io.StringIO
) -> None:
    journal.socket.close()
    (tmp_path / "journal").unlink()

    log.info("still told")

    assert "still told" in spare.getvalue()


def test_only_a_stream_that_systemd_names_is_the_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    status = os.fstat(sys.__stderr__.fileno()) if sys.__stderr__ else None
    assert status is not None
    monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + 1}")
    assert not is_journal(sys.__stderr__)  # type: ignore[arg-type]
    monkeypatch.setenv("JOURNAL_STREAM", "nonsense")
    assert not is_journal(sys.__stderr__)  # type: ignore[arg-type]
    monkeypatch.delenv("JOURNAL_STREAM")
    assert not is_journal(sys.__stderr__)  # type: ignore[arg-type]


@pytest.mark.parametrize("is_connected", [True, False])
def test_under_systemd_the_levels_reach_the_journal_without_a_setting(
    journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_connected: bool
) -> None:
    with (tmp_path / "stderr").open("w+") as stream:
        status = os.fstat(stream.fileno())
        monkeypatch.setenv("JOURNAL_STREAM", f"{status.st_dev}:{status.st_ino + (not is_connected)}")
        configure("info", "auto", Redactor(), stream, tmp_path / "journal")

        logging.getLogger("tokd.x").warning("look")
        logging.getLogger().handlers[0].close()

        stream.seek(0)
        assert ("look" in stream.read()) is not is_connected
    if is_connected:
        entry = journal.entry()
        assert (entry["MESSAGE"], entry["PRIORITY"]) == ("look", "4")


STACKS = """
import os, signal, threading
from daemon.signals import stop_on_signals

def sits_here(token):
    threading.Event().wait(60)

threading.Thread(target=sits_here, args=("act.secret-value",), name="sitter", daemon=True).start()
with stop_on_signals(threading.Event()):
    os.kill(os.getpid(), signal.SIGUSR1)
"""


FROZEN = """
import ctypes, signal, threading
from daemon.signals import print_stacks_later, stop_on_signals

def sits_here():
    threading.Event().wait(60)

threading.Thread(target=sits_here, daemon=True).start()
with stop_on_signals(threading.Event()):
    print_stacks_later(0.5)
    print("ready", flush=True)
    ctypes.PyDLL(None).pause()  # with the interpreter's lock: no other thread, and no handler, runs any more
"""


BUSY = """
import threading
from daemon.signals import stop_on_signals

class Thing:
    def __init__(self, value):
        self.value = {str(key): [key] for key in range(5)}

    def one(self, depth):
        return max(map(lambda _: self.one(depth - 1), range(2))) if depth else 1

def work():
    while not over.is_set():
        sorted(range(30), key=lambda value: Thing(value).one(3))

over = threading.Event()
workers = [threading.Thread(target=work) for _ in range(4)]
with stop_on_signals(over) as bell:
    for worker in workers:
        worker.start()
    print("ready", flush=True)
    while not over.is_set():
        bell.wait()
    for worker in workers:
        worker.join()
"""


def test_a_signal_prints_every_threads_stack_and_no_value() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STACKS], capture_output=True, text=True, timeout=30, check=False,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip

    assert "in sits_here" in done.stderr
    assert "Current thread" in done.stderr
    assert "act.secret-value" not in done.stderr


def test_the_watchdogs_signal_prints_every_threads_stack_and_ends_the_process() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STACKS.replace("SIGUSR1", "SIGQUIT")], capture_output=True, text=True, timeout=30,
        check=False, cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip

    assert "in sits_here" in done.stderr
    assert "Current thread" in done.stderr
    assert done.returncode == -signal.SIGQUIT


def test_an_interpreter_that_hangs_prints_every_threads_stack_in_the_end() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", FROZEN], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        cwd=Path(__file__).resolve().parents[2],
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.readline()
        patience = threading.Timer(20, process.kill)
        patience.start()
        said = "".join(itertools.takewhile(lambda line: "<module>" not in line, process.stderr))
        patience.cancel()
        process.kill()

    assert "in sits_here" in said


def test_a_busy_process_outlives_the_signal(tmp_path: Path) -> None:
    with (tmp_path / "stacks").open("wb") as stacks:
        process = subprocess.Popen(
            [sys.executable, "-c", BUSY],
            stdout=subprocess.PIPE,
            stderr=stacks,
            cwd=Path(__file__).resolve().parents[2],
        )
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        pause = threading.Event()
        for _ in range(300):
            process.send_signal(signal.SIGUSR1)
            pause.wait(0.004)  # its threads must go on meanwhile: that is what this is about
        process.send_signal(signal.SIGTERM)

    assert process.returncode == 0
    assert "in work" in (tmp_path / "stacks").read_text()
