"""A tour that makes the core say everything it can say: every event, every verb's answer, every kind of state."""

import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from adapters.media import FileStore, MediaLibrary, StoreSettings
from adapters.scheduler import SystemClock
from daemon.domain.errors import Code, Fault, PlatformError, Rejected
from daemon.domain.gates import Gates
from daemon.domain.platform import StatusAnswer, Verdict
from daemon.domain.safe_mode import SafeMode
from daemon.domain.session import BrowserEnded, EndingSoon, EndReason, LoginSeen, Pictured
from daemon.jobs.fetch import FetchJobs
from daemon.jobs.tools import Tools
from tests.core import POLICY, Core
from tests.fakes.browser import LOGGED_IN
from tests.fakes.fetcher import FakeFetcher
from tests.fakes.media import FETCHED, FakeMedia
from tests.fakes.platform import After
from tests.waiting import wait_until

URL = "https://media.example/a.mp4"
LOST = PlatformError(Fault.UNKNOWN_OUTCOME, "read_timeout", "nobody answered")
TRANSIENT = PlatformError(Fault.TRANSIENT, "connection_lost", "it broke", log_id="l1", status=503)
REFUSED = PlatformError(Fault.CONTENT, "spam_risk", "not this one", status=400)
DENIED = PlatformError(Fault.AUTH, "invalid_grant", "the code is too old", status=400)
DEAD = PlatformError(Fault.AUTH, "access_token_invalid", "the access token is dead", status=401)
GATES = Gates(grants={"guest": ("system.*",)}, rate_per_s=1, burst=200, open_max=1)
POLICY_OF_TOUR = replace(
    POLICY, redirect_uri="http://127.0.0.1:8080/tiktok/callback", revoke_delays_s=(0.001, 0.001)
)
BANNED = PlatformError(Fault.BANNED, "banned", "not this account")


def tour(folder: Path) -> Core:
    """Return the core of the whole tour, stopped; what came out is in `heard`, `told` and `kept` of it."""
    media = FakeMedia()
    fetcher = FakeFetcher(media)
    core = Core(
        folder, has_broker=True, media=media, policy=POLICY_OF_TOUR, gates=GATES, fetches=_fetches(folder, fetcher)
    )  # fmt: skip
    with core:
        for walk in (_posts, _troubles, _tasks, _sessions, _tokens, _system, _accounts, _links):
            walk(core)
            core.settle()
        _fetched(core, fetcher)
        _gates(core, media)
        core.restart()
        core.settle()
    return core


def _fetches(folder: Path, fetcher: FakeFetcher) -> Callable[[Tools], FetchJobs]:
    library = MediaLibrary((folder,), (), clock=SystemClock(), stopping=threading.Event())
    place = StoreSettings(folder=folder / "uploads", prefix="uploads", size_max=10**9, floor=0, settle_s=0)
    store = FileStore(place, library, threading.Event())
    return lambda tools: FetchJobs(tools=tools, fetcher=fetcher, store=store, keep_days=0)


def _posts(core: Core) -> None:
    core.media.put("clip.mp4")
    core.do("post/schedule", {"account": "ada", "media": "clip.mp4", "privacy": "SELF_ONLY", "draft": True})
    core.do("post/schedule", _order(), dry_run=True)
    first = core.scheduled(in_s=600)
    core.do("post/reschedule", {"post": first, "at": "2030-01-01T09:00:00", "zone": "Europe/Berlin"})
    core.do("post/publish_now", {"post": first}, dry_run=True)
    core.do("post/publish_now", {"post": first})
    core.run_for(60)
    core.do("post/status", {"post": first})
    core.platform.next("status", StatusAnswer(verdict=Verdict.PUBLISHED, raw="PUBLISH_COMPLETE"))
    core.scheduled(in_s=0, privacy="PUBLIC_TO_EVERYONE", if_late={"policy": "fail", "after_s": 60})
    core.run_for(30)  # the answer above is for this post's status read, not for the next post's
    core.scheduled(in_s=0, mode="inbox")
    core.run_for(270)
    core.do("post/cancel", {"post": core.scheduled(in_s=600)})
    core.do("post/list", {"limit": 1})
    core.media.put("new.mp4", checked=False)
    core.schedule("new.mp4", in_s=600)
    core.send("post/status", {"post": "p_none"})
    core.send("post/sing")
    core.send("post/list", {"colour": "red"})


def _troubles(core: Core) -> None:
    core.platform.next("init", TRANSIENT)
    core.scheduled(in_s=0)
    core.run_for(600)
    core.platform.next("init", REFUSED)
    core.scheduled(in_s=0)
    core.run_for(60)
    core.platform.next("init", After(LOST))
    doubted = core.scheduled(None, url=URL, in_s=0)
    core.run_for(3600)
    core.do("post/resolve", {"post": doubted, "outcome": "not_published"})
    core.do("system/pause")
    core.scheduled(in_s=0)
    core.run_for(10)
    core.do("system/resume")
    core.run_for(60)


def _tasks(core: Core) -> None:
    core.do("task/submit", {"instance_id": "i1"}, dry_run=True)
    task = core.do("task/submit", {"instance_id": "i1", "logs": [{"agent_name": "cut", "action": "cut"}]})[
        "task"
    ]
    steps = [{"id": "s1", "title": "Cut"}]
    made = {"video_path": "clip.mp4", "caption": "Hello"}
    core.do(
        "task/update", {"task": task, "status": "completed", "planning_steps": steps, "output_data": made}
    )
    core.do("task/post", {"task": task, "privacy_level": "SELF_ONLY"}, dry_run=True)
    core.do("task/post", {"task": task, "privacy_level": "SELF_ONLY"})
    core.run_for(60)
    core.do("task/status", {"task": task})
    core.do("task/list")


def _sessions(core: Core) -> None:
    core.do("session/open", dry_run=True)
    session = core.do("session/open")["session"]
    browser = core.browser.opened[0]
    core.do("session/extend", {"session": session, "seconds": 600})
    core.do("session/list")
    core.do("session/show", {"session": session})
    check = core.submit("session/check")
    wait_until(lambda: browser.asked, 10, what="the question")
    browser.tell(LoginSeen(LOGGED_IN, browser.asked[0][1]))
    check.final()
    picture = core.submit("session/screenshot", {"inline": True})
    wait_until(lambda: len(browser.asked) > 1, 10, what="the question")
    browser.tell(Pictured(token=browser.asked[1][1], image=b"jpeg"))
    picture.final()
    browser.tell(EndingSoon(60))
    core.do("profiles/list")
    core.do("profiles/promote")
    _wait_for_ends(core, 1)
    core.profiles.promotion_refusal = Rejected(Code.PROFILE_CHANGED, "profile 'master' has changed")
    core.do("session/open")
    core.do("profiles/promote")
    _wait_for_ends(core, 2)
    core.do("session/close", {"session": session})
    core.do("profiles/login", {"profile": "shop"})
    core.do("session/close", {"all": True})
    _wait_for_ends(core, 3)
    core.do("session/list", {"ended": True})
    core.browser.script = [BrowserEnded(reason=EndReason.CRASHED, exit_status=-9)]
    core.send("session/open")
    _wait_for_ends(core, 4)


def _wait_for_ends(core: Core, count: int) -> None:
    wait_until(lambda: len(core.events("session.ended")) >= count, 10, what="the end of the session")
    core.settle()


def _tokens(core: Core) -> None:
    core.do("token/issue", {"user": "ann"}, is_local=True, id="", dry_run=True)
    token = core.do("token/issue", {"user": "ann"}, is_local=True, id="")["token"]
    core.do("token/revoke", {"token": token}, is_local=True)
    core.do("token/list", is_local=True)
    core.send("token/list")


def _system(core: Core) -> None:
    for verb in ("system/ping", "system/health", "system/describe", "account/list"):
        core.do(verb, id="")
    core.do("system/describe", {"asyncapi": True})
    core.do("events/replay", {"limit": 200})
    core.do("system/audit", {"last": 50})
    backup = {"taken_at": core.clock.now().isoformat(), "bytes": 4096, "sha256": "0" * 64}
    core.do("system/backed_up", backup, is_local=True)
    core.do("system/log_level", {"level": "info"}, is_local=True)
    core.do("keys/reseal", is_local=True)
    core.safe_mode = SafeMode("three starts in a row did not end well", "look at the log")
    core.restart()
    core.refusal("system/pause")
    core.safe_mode = None
    core.restart()
    core.send("system/ping", ttl_s=1, expires_at="2020-01-01T00:00:00Z")


def _accounts(core: Core) -> None:
    core.clock.advance(86400)
    core.scheduled(in_s=0)
    core.run_for(60)
    core.platform.next("init", BANNED)
    core.scheduled(in_s=0)
    core.run_for(60)
    core.clock.advance(86400)
    core.platform.live_refresh = set()
    core.sweep()
    core.do("account/list")


def _links(core: Core) -> None:
    core.do("account/link", {"account": "ada"}, dry_run=True)
    _come_back(core, error="access_denied")
    core.platform.next("exchange", DENIED)
    _come_back(core, code="old")
    core.platform.live_refresh = None
    core.platform.granted = ("user.info.basic", "video.publish")
    state = core.do("account/link", {"account": "ada"})["state"]
    core.do("account/finish_link", {"state": state, "code": "new"}, is_local=True, dry_run=True)
    core.do("account/finish_link", {"state": state, "code": "new"}, is_local=True)
    core.do("account/disable", {"account": "ada"})
    core.do("account/enable", {"account": "ada"})
    core.do("account/check", {"account": "ada"})
    core.platform.next("creator", DEAD)
    core.do("account/check", {"account": "ada"})
    core.do("account/unlink", {"account": "ada"}, dry_run=True)
    core.do("account/unlink", {"account": "ada"})
    core.do("account/unlink", {"account": "ada"})
    core.do("account/list", {"all": True})
    core.link()


def _come_back(core: Core, **answer: str) -> None:
    state = core.do("account/link", {"account": "ada"})["state"]
    core.send("account/finish_link", {"state": state} | answer, is_local=True)
    core.settle()


def _fetched(core: Core, fetcher: FakeFetcher) -> None:
    url = f"{FETCHED}cat.mp4"
    core.do("post/schedule", _order(url=url))
    made = {"status": "completed", "output_data": {"video_url": url}}
    task = core.do("task/submit", {"instance_id": "i2"} | made)["task"]
    fetcher.gate = threading.Event()
    fetcher.stopping = core.stopping
    call = core.submit("task/post", {"task": task, "privacy_level": "SELF_ONLY"})
    wait_until(lambda: core.do("task/status", {"task": task})["post_status"], 10, what="the fetch is told")
    fetcher.gate.set()
    call.final()
    core.settle()
    core.do("task/status", {"task": task})
    fetcher.refusal = Rejected(Code.MEDIA_REJECTED, "no video", field="args.url")
    core.send("post/schedule", _order(url=url))
    core.settle()


def _gates(core: Core, media: FakeMedia) -> None:
    """Be refused at each gate: by name, as backlog, with too much open, and too often."""
    core.send("post/list", actor="guest")
    core.send("system/ping", actor="guest")
    core.send("post/schedule", _order(), is_backlog=True)
    media.gate = threading.Event()
    media.put("slow.mp4", checked=False)
    call = core.submit("post/schedule", _order(media="slow.mp4"), actor="hasty")
    wait_until(lambda: call.replies, 10, what="the order is accepted")
    core.send("post/schedule", _order(), actor="hasty")
    media.gate.set()
    call.final()
    media.gate = None
    for _ in range(201):
        core.submit("system/ping", actor="flood")
    core.settle()


def _order(**source: str) -> dict[str, Any]:
    return {"account": "ada", "privacy": "SELF_ONLY", "at": "now"} | (source or {"media": "clip.mp4"})
