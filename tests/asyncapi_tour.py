"""A tour that makes the core say everything it can say: every event, every verb's answer, every kind of state."""

from pathlib import Path
from typing import Any

from daemon.domain.errors import Fault, PlatformError
from daemon.domain.platform import StatusAnswer, Verdict
from daemon.domain.session import BrowserEnded, EndingSoon, EndReason, LoginSeen, Pictured
from tests.core import Core
from tests.fakes.browser import LOGGED_IN
from tests.fakes.platform import After
from tests.waiting import wait_until

URL = "https://media.example/a.mp4"
LOST = PlatformError(Fault.UNKNOWN_OUTCOME, "read_timeout", "nobody answered")
TRANSIENT = PlatformError(Fault.TRANSIENT, "connection_lost", "it broke", log_id="l1", status=503)
REFUSED = PlatformError(Fault.CONTENT, "spam_risk", "not this one", status=400)
BANNED = PlatformError(Fault.BANNED, "banned", "not this account")


def tour(folder: Path) -> Core:
    """Return the core of the whole tour, stopped; what came out is in `heard`, `told` and `kept` of it."""
    core = Core(folder, has_broker=True)
    with core:
        for walk in (_posts, _troubles, _tasks, _sessions, _tokens, _system, _accounts):
            walk(core)
            core.settle()
        core.restart()
        core.settle()
    return core


def _posts(core: Core) -> None:
    core.media.put("clip.mp4")
    core.do("post/schedule", {"account": "ada", "media": "clip.mp4", "privacy": "SELF_ONLY", "draft": True})
    core.do("post/schedule", _order(core), dry_run=True)
    first = core.scheduled(in_s=600)
    core.do("post/reschedule", {"post": first, "at": "2030-01-01T09:00:00", "zone": "Europe/Berlin"})
    core.do("post/publish_now", {"post": first}, dry_run=True)
    core.do("post/publish_now", {"post": first})
    core.run_for(60)
    core.do("post/status", {"post": first})
    core.platform.next("status", StatusAnswer(verdict=Verdict.PUBLISHED, raw="PUBLISH_COMPLETE"))
    core.scheduled(in_s=0, privacy="PUBLIC_TO_EVERYONE", if_late={"policy": "fail", "after_s": 60})
    core.scheduled(in_s=0, mode="inbox")
    core.run_for(300)
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
    core.do("session/close", {"session": session})
    core.do("profiles/login", {"profile": "shop"})
    core.do("session/close", {"all": True})
    _wait_for_ends(core, 2)
    core.do("session/list", {"ended": True})
    core.browser.script = [BrowserEnded(reason=EndReason.CRASHED, exit_status=-9)]
    core.send("session/open")
    _wait_for_ends(core, 3)


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


def _order(core: Core) -> dict[str, Any]:
    return {"account": "ada", "media": "clip.mp4", "privacy": "SELF_ONLY", "at": "now"}
