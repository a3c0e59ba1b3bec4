"""The first run: an account on the simulator, and lines to copy."""

import logging
import secrets
import threading
from collections.abc import Callable
from typing import Any

from adapters.broker import MosquittoChild
from adapters.simulator.child import REDIRECT_URI, SimulatorChild
from daemon.bus import CoreBus
from daemon.domain.account import Login
from daemon.domain.events import as_json
from daemon.domain.ids import LOCAL_ACTOR, AccountName
from daemon.domain.wire import read_request
from daemon.ports import Clock, PlatformUploader

LOG = logging.getLogger("tokd")
DEMO = AccountName("demo")
WITHIN_S = 10.0


def link_demo(bus: CoreBus, platform: PlatformUploader, simulator: SimulatorChild, clock: Clock) -> None:
    """Link the account `demo` through the simulator's OAuth exchange, unless it works, or was unlinked."""
    account = bus.read(lambda unit: unit.account(DEMO))
    if account is not None and account.login is not Login.NEEDS_LOGIN:
        return
    tokens = platform.exchange(simulator.authorise(DEMO, secrets.token_urlsafe(24)), REDIRECT_URI, None)
    now = clock.now()
    args = {
        "account": DEMO,
        "access_token": tokens.access,
        "refresh_token": tokens.refresh,
        "open_id": tokens.open_id,
        "expires_in": int((tokens.access_expires_at - now).total_seconds()),
        "refresh_expires_in": int((tokens.refresh_expires_at - now).total_seconds()),
        "scope": ",".join(tokens.scopes),
    }
    answered = threading.Event()
    replies: list[dict[str, Any]] = []

    def on_reply(reply: dict[str, Any]) -> None:
        replies.append(reply)
        answered.set()

    request, _ = read_request(
        actor=LOCAL_ACTOR, verb="account/import", raw=as_json({"args": args}).encode(), transport="control",
        received_at=now, is_local=True, answer=on_reply,
    )  # fmt: skip
    bus.submit(request)
    if not answered.wait(WITHIN_S) or replies[0].get("status") != "done":
        LOG.error("the demo account could not be linked: %s", replies[:1])


def say_hello(
    say: Callable[[str], None],
    *,
    child: MosquittoChild | None,
    simulator: SimulatorChild | None,
    is_configured: bool,
    advice: str,
    prefix: str,
    node: str,
) -> None:
    """Print what a person can do now, ready to copy. No password is among it."""
    if simulator is None:
        say("tokd is ready." if is_configured else f"tokd is ready, but cannot post yet: {advice}")
        return
    say(f"tokd is ready. TikTok is simulated ({simulator.url}): nothing leaves this machine.")
    say("In another shell, a video to post (or take one of yours):")
    say(
        "  ffmpeg -f lavfi -i testsrc2=size=1080x1920:rate=30 -f lavfi -i sine -t 60 -b:v 12M "
        "-pix_fmt yuv420p clip.mp4"
    )
    say("Watch what happens:")
    say("  .venv/bin/tokd watch")
    say("Schedule it for five seconds from now:")
    say("  .venv/bin/tokd post schedule clip.mp4 --account demo --privacy SELF_ONLY --title Hello --at +5s")
    say("Browser sessions: log in once (as demo, any password), close the window, then open a clone of it:")
    say("  .venv/bin/tokd profile login master")
    say("  .venv/bin/tokd session open")
    if child is None:
        say("There is no broker; with mosquitto (apt install mosquitto) the same goes over MQTT.")
        return
    say("The same over MQTT (the file in XDG_CONFIG_HOME holds address and password), and as an inbox draft:")
    for mode, more in (("direct", '\\"privacy\\":\\"SELF_ONLY\\",'), ("inbox", "")):
        say(f"  {_pub(child, prefix, node, mode, more)}")
    say(f"  XDG_CONFIG_HOME={child.client_folder('me')} mosquitto_sub -v -t '{prefix}/v1/{node}/#'")


def _pub(child: MosquittoChild, prefix: str, node: str, mode: str, more: str) -> str:
    return (
        f"XDG_CONFIG_HOME={child.client_folder('me')} mosquitto_pub -q 1 -t {prefix}/v1/{node}/cmd/me/post/schedule "
        f'-m "{{\\"id\\":\\"{mode}-$(date +%s%N)\\",\\"args\\":{{\\"account\\":\\"demo\\",\\"media\\":\\"clip.mp4\\",'
        f'\\"mode\\":\\"{mode}\\",{more}\\"at\\":\\"$(date -u -d "+5 seconds" +%FT%TZ)\\"}}}}"'
    )
