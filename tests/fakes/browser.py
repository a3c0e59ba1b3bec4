"""Profiles and a browser in memory: a test says what the browser tells, and sees what it was told."""

import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import datetime

from daemon.domain.errors import Code, Interrupted, Rejected
from daemon.domain.ids import ProfileName, SessionId
from daemon.domain.login import Doubt, Login, Verdict
from daemon.domain.session import (
    BrowserEnded,
    Closing,
    EndReason,
    HandedOver,
    LoginSeen,
    ProfileFacts,
    SessionKind,
    SessionNews,
    SessionOrder,
    Started,
    Survey,
    Workplace,
)  # fmt: skip
from tests.waiting import wait_until

STARTED = Started(pid=4711, version="156.0", is_sandboxed=True)
LOGGED_IN = Verdict(
    login=Login.LOGGED_IN, method="info", evidence=("account info call: 200, a user",), ms=170, username="ada"
)
LOGGED_OUT = Verdict(
    login=Login.LOGGED_OUT, method="info", evidence=("account info call: session expired",), ms=190
)
CHALLENGED = Verdict(
    login=Login.UNCERTAIN, method="challenge", evidence=("visible: .captcha",), reason=Doubt.CHALLENGE, ms=90
)


class FakeProfiles:
    """Implements ports.Profiles. `names` are the profiles; `left` the folders a dead owner left."""

    def __init__(self) -> None:
        self.names = {"master"}
        self.refusal: Rejected | None = None
        self.prepared: list[SessionOrder] = []
        self.released: list[SessionId] = []
        self.promoted: list[tuple[SessionId, str]] = []
        self.lost: str | None = None
        self.promotion_refusal: Rejected | None = None
        self.kept: list[tuple[SessionId, str]] = []
        self.left: list[SessionId] = []
        self.held: set[SessionId] = set()
        self.can_remove = True
        self.is_slow = False  # a clone takes until it is told to stop

    def prepare(self, order: SessionOrder, stop: Callable[[], bool] = lambda: False) -> Workplace:
        if self.is_slow:
            wait_until(stop, 10, what="an order to stop cloning")
            raise Interrupted
        if self.refusal is not None:
            raise self.refusal
        if order.kind is SessionKind.LOGIN:
            self.names.add(order.profile)
        elif order.profile not in self.names:
            raise Rejected(Code.NO_SUCH_PROFILE, f"there is no profile {order.profile}")
        self.prepared.append(order)
        return _place(order.session)

    def release(self, place: Workplace) -> bool:
        self.released.append(place.session)
        return self.can_remove

    def promote(self, place: Workplace, profile: ProfileName) -> str:
        if self.promotion_refusal is not None:
            raise self.promotion_refusal
        self.promoted.append((place.session, profile))
        return f"backups/{profile}-1"

    def keep(self, place: Workplace, profile: ProfileName) -> str | None:
        self.kept.append((place.session, profile))
        return f"backups/{profile}-clone-1"

    def loss(self, place: Workplace) -> str | None:
        return self.lost

    def facts(self) -> list[ProfileFacts]:
        return [
            ProfileFacts(name=ProfileName(name), size=2_600_000, files=146, used_at=None, in_use_by=None)
            for name in sorted(self.names)
        ]

    def survey(self) -> Survey:
        left, self.left = self.left, []
        return Survey(orphans=tuple(_place(session) for session in left), held=frozenset(self.held))


class FakeOpenBrowser:
    """Implements ports.OpenBrowser: `tell` is the browser's side. A close ends it by itself unless it hangs."""

    def __init__(self, order: SessionOrder, *, hangs: bool = False) -> None:
        self.order = order
        self.hangs = hangs
        self.closed: list[EndReason] = []
        self.extended: list[float] = []
        self.asked: list[tuple[str, str]] = []
        self._news: queue.SimpleQueue[SessionNews] = queue.SimpleQueue()

    def tell(self, *news: SessionNews) -> None:
        for item in news:
            self._news.put(item)

    def news(self) -> Iterator[SessionNews]:
        while True:
            news = self._news.get(timeout=20)
            yield news
            if isinstance(news, BrowserEnded):
                return

    def close(self, reason: EndReason) -> None:
        self.closed.append(reason)
        if len(self.closed) == 1 and not self.hangs:
            self.tell(Closing(reason), BrowserEnded(reason=reason, exit_status=0, is_clean=True))

    def extend(self, timeout_s: float) -> None:
        self.extended.append(timeout_s)

    def check(self, token: str) -> None:
        self.asked.append(("check", token))

    def picture(self, token: str) -> None:
        self.asked.append(("picture", token))


class FakeBrowser:
    """Implements ports.Browser. Each opened browser plays `script` at once; `opened` lists them."""

    def __init__(self) -> None:
        self.refusal: Rejected | None = None
        self.script: list[SessionNews] = [STARTED, LoginSeen(LOGGED_IN), HandedOver(300)]
        self.opened: list[FakeOpenBrowser] = []
        self.ended: list[SessionId] = []
        self.gate = threading.Event()  # cleared by a test, it holds sessions before their browser starts
        self.gate.set()
        self.hangs = False
        self.is_warm = False
        self.end_error: OSError | None = None  # raised once

    def warm(self) -> None:
        self.is_warm = True

    def check(self, order: SessionOrder) -> None:
        if self.refusal is not None:
            raise self.refusal
        assert self.gate.wait(20), order

    def open(self, order: SessionOrder, place: Workplace) -> FakeOpenBrowser:
        assert place.session == order.session
        found = FakeOpenBrowser(order, hangs=self.hangs)
        self.opened.append(found)
        found.tell(*self.script)
        return found

    def end(self, place: Workplace) -> None:
        error, self.end_error = self.end_error, None
        if error is not None:
            raise error
        self.ended.append(place.session)

    def stop(self) -> None:
        pass


@dataclass
class FakePictures:
    """Implements ports.Pictures."""

    kept: list[bytes] = field(default_factory=list)
    error: OSError | None = None

    def keep(self, session: SessionId, image: bytes, media_type: str, now: datetime) -> str:
        if self.error is not None:
            raise self.error
        self.kept.append(image)
        return f"pictures/{session}.jpg"

    def drop(self, before: datetime) -> None:
        pass


def _place(session: SessionId) -> Workplace:
    return Workplace(
        session=session, folder=f"clones/{session}", user_data_dir=f"clones/{session}/profile", temp_dir="t"
    )
