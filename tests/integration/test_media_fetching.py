"""The fetcher against a real TLS host on loopback: what it takes, where it goes on, and whom it never calls."""

import contextlib
import hashlib
import itertools
import logging
import re
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from adapters.media import FetchSettings, FileStore, Hosts, MediaLibrary, RemoteFiles, StoreSettings
from adapters.media.dialing import Dial, Resolve, dial
from adapters.scheduler import SystemClock
from daemon.domain.errors import Code, Rejected
from daemon.domain.media import MediaFacts
from tests.daemons import make_clip
from tests.hostile_addresses import ALLOWED, HOSTILE, PRIVATE_ADDRESSES
from tests.tls_host import Course, TlsHost, dial_to
from tests.waiting import wait_until

PUBLIC = "93.184.215.14"
URL = "https://files.example/u/clip.mp4?sig=geheim"
PATH = "/u/clip.mp4"


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    return make_clip(tmp_path_factory.mktemp("clip") / "clip.mp4", pad_to=600_000).read_bytes()


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TlsHost]:
    found = TlsHost(tmp_path_factory.mktemp("tls"))
    yield found
    found.close()


@dataclass
class Stage:
    """A store of one test, and fetchers for it. Whatever is dialled, the host on loopback answers."""

    host: TlsHost
    root: Path
    content: bytes
    stopping: threading.Event = field(default_factory=threading.Event)
    dialled: list[tuple[str, int]] = field(default_factory=list)
    asked: list[str] = field(default_factory=list)
    told: list[tuple[int, int | None]] = field(default_factory=list)
    size_max: int = 10_000_000
    floor: int = 0

    def put(self, **more: Any) -> Course:
        return self.host.put(PATH, more.pop("content", self.content), **more)

    def fetcher(
        self, resolver: Resolve | None = None, dialer: Dial | None = None, private: str = "", **settings: Any
    ) -> RemoteFiles:
        def resolve(name: str, _port: int) -> Sequence[str]:
            self.asked.append(name)
            return [PUBLIC]

        library = MediaLibrary((self.root,), (), clock=SystemClock(), stopping=self.stopping)
        place = StoreSettings(
            folder=self.root / "uploads",
            prefix="uploads",
            size_max=self.size_max,
            floor=self.floor,
            settle_s=2,
        )
        times = {"ca_file": self.host.ca_file, "retry_delays_s": (0.01, 0.01), "stall_s": 5} | settings
        hosts = Hosts(ALLOWED, (private,) if private else ())
        store = FileStore(place, library, self.stopping)
        return RemoteFiles(
            FetchSettings(**times), hosts, store, self.stopping,
            resolver=resolver or resolve, dialer=dialer or dial_to(self.host, self.dialled),
        )  # fmt: skip

    def fetch(self, url: str = URL, key: str = "k", **more: Any) -> MediaFacts:
        return self.fetcher(**more).fetch(url, key, "args.url", lambda *told: self.told.append(told))

    def refusal(self, url: str = URL, **more: Any) -> Rejected:
        with pytest.raises(Rejected) as caught:
            self.fetch(url, **more)
        assert "geheim" not in str(caught.value.as_dict())
        return caught.value

    def problem(self, url: str = URL, **more: Any) -> tuple[str, bool]:
        refusal = self.refusal(url, **more)
        assert refusal.code is Code.MEDIA_REJECTED
        return refusal.problems[0].code, refusal.retryable

    def files(self) -> list[str]:
        return sorted(
            path.name for path in (self.root / "uploads").rglob("*") if path.suffix in {".mp4", ".part"}
        )


@pytest.fixture
def stage(host: TlsHost, tmp_path: Path, clip: bytes) -> Stage:
    host.courses.clear()
    host.seen.clear()
    return Stage(host, tmp_path, clip)


# -- a good fetch --------------------------------------------------------------------------------------------


def test_a_fetched_file_is_named_by_its_content_and_checked(stage: Stage) -> None:
    stage.put()

    facts = stage.fetch()

    digest = hashlib.sha256(stage.content).hexdigest()
    assert (facts.name, facts.sha256, facts.size) == (f"uploads/{digest}.mp4", digest, len(stage.content))
    assert (stage.root / facts.name).read_bytes() == stage.content
    assert stage.told[-1] == (len(stage.content), len(stage.content))


def test_the_checked_address_is_dialled_and_the_name_is_asked_for(stage: Stage) -> None:
    stage.put()

    stage.fetch()

    assert (stage.dialled, stage.asked) == ([(PUBLIC, 443)], ["files.example"])
    assert (stage.host.seen[0].path, stage.host.seen[0].host) == ("/u/clip.mp4?sig=geheim", "files.example")


def test_no_proxy_of_the_environment_is_asked(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("https_proxy", "HTTPS_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    stage.put()

    assert stage.fetch().size == len(stage.content)


def test_what_was_fetched_under_a_key_is_not_fetched_again(stage: Stage) -> None:
    stage.put()

    assert stage.fetch().name == stage.fetch().name
    assert len(stage.host.seen) == 1


def test_a_body_of_unknown_length_is_taken(stage: Stage) -> None:
    stage.put(is_chunked=True)

    assert stage.fetch().size == len(stage.content)


def test_a_redirect_to_an_allowed_host_is_followed(stage: Stage) -> None:
    stage.put()
    stage.host.put("/old", b"", location=URL)

    assert stage.fetch("https://files.example/old").size == len(stage.content)
    assert len(stage.dialled) == 2


# -- trouble -------------------------------------------------------------------------------------------------


def test_a_broken_connection_goes_on_where_it_ended(stage: Stage) -> None:
    stage.put(cuts=[200_000, 400_000])

    assert stage.fetch().sha256 == hashlib.sha256(stage.content).hexdigest()
    assert stage.host.ranges() == [None, "bytes=200000-", "bytes=400000-"]


def test_a_file_that_has_changed_meanwhile_is_fetched_anew(stage: Stage) -> None:
    course = stage.put(cuts=[200_000])
    other = stage.content[:-5] + b"other"
    course.statuses = []

    def change(received: int, _total: int | None) -> None:
        if received >= 200_000 and course.etag == '"one"':
            course.content, course.etag = other, '"two"'

    facts = stage.fetcher().fetch(URL, "k", "args.url", change)

    assert facts.sha256 == hashlib.sha256(other).hexdigest()


def test_without_a_mark_of_its_version_a_file_is_begun_again(stage: Stage) -> None:
    stage.put(cuts=[200_000], etag="")

    assert stage.fetch().size == len(stage.content)
    assert stage.host.ranges() == [None, None]


def test_a_passing_error_is_tried_again(stage: Stage) -> None:
    stage.put(statuses=[503, 429])

    assert stage.fetch().size == len(stage.content)


@pytest.mark.parametrize(
    ("course", "expected"),
    [
        pytest.param({"statuses": [503, 503, 503]}, ("fetch_failed", True), id="a host that is down"),
        pytest.param({"statuses": [403]}, ("fetch_status", False), id="an address that has expired"),
        pytest.param({"statuses": [204]}, ("fetch_status", False), id="nothing"),
        pytest.param({"headers": {"Content-Encoding": "gzip"}}, ("fetch_encoding", False), id="compressed"),
        pytest.param({"content": b"no video" * 9}, ("container", False), id="no video"),
        pytest.param({"cuts": [1, 1, 1], "etag": ""}, ("fetch_failed", True), id="a connection that breaks"),
        pytest.param({"location": URL}, ("fetch_redirects", False), id="a circle"),
    ],
)
def test_a_fetch_that_fails_says_why_and_leaves_nothing(
    stage: Stage, course: dict[str, Any], expected: tuple[str, bool]
) -> None:
    stage.put(**course)

    assert stage.problem() == expected
    assert stage.files() == []


def test_a_file_that_says_it_is_too_large_is_not_received(stage: Stage) -> None:
    stage.size_max = 100_000
    stage.put()

    assert stage.problem() == ("file_size", False)
    assert stage.told == []


def test_a_file_that_becomes_too_large_is_cut(stage: Stage) -> None:
    stage.size_max = 100_000
    stage.put(is_chunked=True)

    assert stage.problem() == ("file_size", False)
    assert max(received for received, _ in stage.told) <= 100_000


def test_the_disk_keeps_its_floor(stage: Stage) -> None:
    stage.floor = 10**18
    stage.put()

    assert stage.refusal().code is Code.DISK_FULL
    assert stage.files() == []


def test_a_host_that_falls_silent_is_given_up(stage: Stage) -> None:
    stage.put(hold_after=100_000)

    assert stage.problem(stall_s=0.2, retry_delays_s=()) == ("fetch_failed", True)


def test_a_fetch_that_takes_too_long_is_given_up(stage: Stage) -> None:
    stage.put(hold_after=100_000)

    assert stage.problem(timeout_s=0.5) == ("fetch_timeout", True)


def test_a_stop_ends_a_fetch_at_once_and_keeps_what_has_come(stage: Stage) -> None:
    course = stage.put(hold_after=100_000)
    found: list[Rejected] = []
    worker = threading.Thread(target=lambda: found.append(stage.refusal()))
    worker.start()
    wait_until(lambda: stage.told and stage.told[-1][0] == 100_000)

    begun = time.monotonic()
    stage.stopping.set()
    worker.join(10)

    assert found[0].code is Code.SHUTTING_DOWN
    assert time.monotonic() - begun < 2
    stage.stopping.clear()
    course.gate.set()
    assert stage.fetch().size == len(stage.content)
    assert stage.host.ranges() == [None, "bytes=100000-"]


@contextlib.contextmanager
def _nobody_accepts() -> Iterator[int]:
    """Listen on a port where a connection is never made."""
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(socket.create_server(("127.0.0.1", 0), backlog=0))
        port = listener.getsockname()[1]
        for _ in range(4):  # fills the line of those who wait
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            waiting.connect_ex(("127.0.0.1", port))
        yield port


@contextlib.contextmanager
def _nobody_shakes_hands() -> Iterator[int]:
    """Listen on a port where nothing is said."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.mark.parametrize(
    "place",
    [_nobody_accepts, _nobody_shakes_hands, contextlib.nullcontext],
    ids=["connecting", "handshake", "name"],
)
def test_a_stop_ends_a_fetch_that_has_not_begun_to_receive(
    stage: Stage, place: Callable[[], contextlib.AbstractContextManager[int | None]]
) -> None:
    asked, never = threading.Event(), threading.Event()

    def resolve(_name: str, _port: int) -> Sequence[str]:
        asked.set()
        if port is None:
            never.wait(20)
        return ["127.0.0.1"]

    found: list[Rejected] = []
    with place() as port:
        url = f"https://127.0.0.1:{port or 443}/a.mp4"
        files = stage.fetcher(resolve, dialer=dial, private=f"127.0.0.1:{port or 443}")
        worker = threading.Thread(target=lambda: found.append(_refusal(files, url)))
        worker.start()
        assert asked.wait(10)
        worker.join(0.3)
        begun = time.monotonic()
        stage.stopping.set()
        worker.join(10)
    never.set()

    assert found[0].code is Code.SHUTTING_DOWN
    assert time.monotonic() - begun < 2


def _refusal(files: RemoteFiles, url: str) -> Rejected:
    with pytest.raises(Rejected) as caught:
        files.fetch(url, "k", "args.url", lambda *_told: None)
    return caught.value


def test_a_host_whose_certificate_nobody_vouches_for_is_refused(stage: Stage) -> None:
    stage.put()

    assert stage.problem(ca_file=None) == ("fetch_certificate", False)
    assert stage.host.seen == []


def test_a_host_with_another_hosts_certificate_is_refused(stage: Stage) -> None:
    stage.put()

    assert stage.problem("https://eu.files.example/u/clip.mp4") == ("fetch_certificate", False)
    assert stage.host.seen == []


def test_the_query_of_an_address_is_not_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    stage.put(statuses=[503])

    with caplog.at_level(logging.DEBUG):
        stage.fetch()

    assert "files.example" in caplog.text
    assert "geheim" not in caplog.text


# -- whom it never calls (S11) -------------------------------------------------------------------------------


@pytest.mark.parametrize("url", HOSTILE)
def test_nobody_is_called_for_a_hostile_address(stage: Stage, url: str) -> None:
    stage.refusal(url)

    assert (stage.dialled, stage.asked) == ([], [])


@pytest.mark.parametrize("address", PRIVATE_ADDRESSES)
def test_an_allowed_name_that_leads_into_a_private_network_is_not_called(stage: Stage, address: str) -> None:
    assert stage.problem(resolver=lambda _name, _port: [PUBLIC, address]) == ("url_private", False)
    assert stage.dialled == []


def test_a_name_that_changes_its_address_between_two_questions_gains_nothing(stage: Stage) -> None:
    stage.put()
    answers = itertools.chain([[PUBLIC]], itertools.repeat(["127.0.0.1"]))

    stage.fetch(resolver=lambda _name, _port: next(answers))

    assert stage.dialled == [(PUBLIC, 443)]


def test_a_name_that_changes_its_address_before_a_new_try_is_not_called_again(stage: Stage) -> None:
    stage.put(cuts=[1000])
    answers = itertools.chain([[PUBLIC]], itertools.repeat(["127.0.0.1"]))

    assert stage.problem(resolver=lambda _name, _port: next(answers)) == ("url_private", False)
    assert stage.dialled == [(PUBLIC, 443)]


@pytest.mark.parametrize(
    "location",
    [url for url in HOSTILE if re.match(r"[a-z]+://[^/]", url) and url.isascii() and url.isprintable()]
    + ["//127.0.0.1/a"],
)
def test_a_redirect_to_a_hostile_address_is_not_followed(stage: Stage, location: str) -> None:
    stage.put(location=location)

    stage.refusal()

    assert stage.dialled == [(PUBLIC, 443)]


def test_a_redirect_into_a_private_network_is_not_followed(stage: Stage) -> None:
    stage.put(location="https://eu.files.example/a")

    def resolve(name: str, _port: int) -> Sequence[str]:
        return [PUBLIC] if name == "files.example" else ["10.0.0.1"]

    assert stage.problem(resolver=resolve) == ("url_private", False)
    assert stage.dialled == [(PUBLIC, 443)]
