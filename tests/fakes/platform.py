"""A platform in memory: it keeps its own ledger, so that a test can count what was really posted."""

import hashlib
import json
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, BinaryIO
from urllib.parse import urlencode

from daemon.domain.account import Creator, Tokens
from daemon.domain.errors import Fault, PlatformError, Problem
from daemon.domain.media import MediaFacts, MediaLimits
from daemon.domain.platform import (
    ChunkAnswer,
    Endpoint,
    InitAnswer,
    InitRequest,
    Plan,
    PostOrder,
    Rate,
    StatusAnswer,
    Verdict,
)  # fmt: skip
from daemon.domain.post import Description, Kind, Mode
from daemon.ports import Clock

CREATOR = Creator(
    username="ada", nickname="Ada", privacy_options=("SELF_ONLY", "PUBLIC_TO_EVERYONE"), comment_disabled=False,
    duet_disabled=False, stitch_disabled=False, duration_max_s=600,
)  # fmt: skip
LIMITS = MediaLimits(
    source="test", as_of="2026-12", containers=("mp4",), video_codecs=("h264",), fps_min=23, fps_max=60,
    side_min=360, side_max=4096, size_max=4_000_000_000, duration_max_s=600,
)  # fmt: skip
PENDING = StatusAnswer(verdict=Verdict.PENDING, raw="PROCESSING_UPLOAD")
PUBLISHED = StatusAnswer(verdict=Verdict.PUBLISHED, raw="PUBLISH_COMPLETE", public_ids=("7001",))
INBOX = StatusAnswer(verdict=Verdict.SENT_TO_INBOX, raw="SEND_TO_USER_INBOX")


def failed(code: str, fault: Fault) -> StatusAnswer:
    """Return a status read in which the platform says no."""
    return StatusAnswer(verdict=Verdict.FAILED, raw="FAILED", fail_code=code, fail_fault=fault)


class Killed(BaseException):
    """Raised by a scripted call: the process ends right there, and nothing of it is reported."""


@dataclass
class Upload:
    """What the platform knows of one init call."""

    publish_id: str
    mode: str
    plan: Plan | None
    stored: int = 0
    commits: int = 0  # how often the last byte has arrived

    @property
    def is_complete(self) -> bool:
        return self.plan is None or self.stored >= self.plan.size


Step = BaseException | Callable[[], Any] | object


class FakePlatform:
    """Implements ports.PlatformUploader.

    `script[method]` is a queue of what the next calls do: an exception is raised *instead of* the effect; an
    `After(exception)` is raised after it (the answer was lost); a function is called first (wait on an event, count,
    …) and the call goes on; anything else is the answer. `calls` lists (method, argument) in order.
    """

    def __init__(self, clock: Clock, *, chunk_size: int = 10) -> None:
        self.name = "tiktok"
        self.limits = LIMITS
        self.rates = {
            Endpoint.CREATOR: Rate(20, 60),
            Endpoint.INIT: Rate(6, 60),
            Endpoint.STATUS: Rate(30, 60),
        }
        self.configured = True
        self.key = "key"
        self.verifiers: dict[str, str | None] = {}  # by state
        self.granted = ("user.info.basic", "video.publish", "video.upload")
        self.open_id = "open-ada"
        self.creator_answer = CREATOR
        self.verdict = PUBLISHED  # what a complete upload becomes
        self.script: defaultdict[str, deque[Step]] = defaultdict(deque)
        self.calls: list[tuple[str, Any]] = []
        self.uploads: dict[str, Upload] = {}
        self.live_access: set[str] | None = None  # None: every access token works
        self.live_refresh: set[str] | None = None
        self.token_seconds = 86400
        self._clock = clock
        self._chunk_size = chunk_size
        self._tokens = 0
        self._guard = threading.RLock()

    # -- what a test asks --------------------------------------------------------------------------------

    def count(self, method: str) -> int:
        """Return how often the method was called."""
        with self._guard:
            return sum(called == method for called, _ in self.calls)

    def published(self) -> list[Upload]:
        """Return the uploads that are complete: each of them is a post on the platform."""
        with self._guard:
            return [upload for upload in self.uploads.values() if upload.is_complete]

    def next(self, method: str, *steps: Step) -> None:
        """Queue what the next calls of a method do."""
        with self._guard:
            self.script[method].extend(steps)

    # -- the port ----------------------------------------------------------------------------------------

    def is_configured(self) -> bool:
        return self.configured

    def advice_if_not_configured(self) -> str:
        return "set tiktok.client_key"

    def check_description(
        self, description: Description, mode: Mode, kind: Kind
    ) -> tuple[tuple[str, Problem], ...]:
        if mode is Mode.DIRECT and description.privacy is None:
            return (("privacy", Problem("privacy_required", "a direct post needs a privacy level")),)
        return ()

    def check_creator(
        self, creator: Creator, description: Description, mode: Mode, facts: MediaFacts | None
    ) -> tuple[tuple[str, Problem], ...]:
        if mode is Mode.DIRECT and description.privacy not in creator.privacy_options:
            return (("privacy", Problem("privacy_not_offered", f"{description.privacy} is not open")),)
        return ()

    def scope_for(self, mode: Mode) -> str:
        return "video.publish" if mode is Mode.DIRECT else "video.upload"

    def prepare(self, order: PostOrder) -> InitRequest:
        plan = None
        if order.facts is not None:
            plan = Plan(order.facts.size, self._chunk_size, max(1, order.facts.size // self._chunk_size))
        body = json.dumps({"title": order.description.title, "urls": order.urls, "mode": order.mode.value})
        digest = hashlib.sha256(body.encode()).hexdigest()
        return InitRequest(endpoint="/init", body=body, body_hash=digest, plan=plan)

    def creator(self, access_token: str) -> Creator:
        return self._call("creator", access_token, lambda: self.creator_answer, access_token)

    def init(self, access_token: str, request: InitRequest) -> InitAnswer:
        return self._call("init", request, lambda: self._begin(request), access_token)

    def send_chunk(
        self, upload_url: str, body: BinaryIO, plan: Plan, index: int, mime_type: str
    ) -> ChunkAnswer:
        content = body.read()
        return self._call("send_chunk", index, lambda: self._store(upload_url, content, plan, index))

    def status(self, access_token: str, publish_id: str) -> StatusAnswer:
        return self._call("status", publish_id, lambda: self._status(publish_id), access_token)

    def cancel(self, access_token: str, publish_id: str) -> None:
        self._call("cancel", publish_id, lambda: None, access_token)

    @property
    def client_key(self) -> str:
        return self.key

    def authorize_url(
        self, state: str, scopes: Sequence[str], redirect_uri: str, verifier: str | None = None,
        *, always_asks: bool = False,
    ) -> str:  # fmt: skip
        self.verifiers[state] = verifier
        fields = {"state": state, "scope": ",".join(scopes), "redirect_uri": redirect_uri}
        return f"https://platform.example/authorize?{urlencode(fields)}" + ("&asks=1" if always_asks else "")

    def why_not_agreed(self, error: str) -> str:
        return f"meaning of {error}"

    def exchange(self, code: str, redirect_uri: str, verifier: str | None) -> Tokens:
        self.exchanged_with = (redirect_uri, verifier)
        return self._call("exchange", code, self._new_tokens)

    def refresh(self, refresh_token: str) -> Tokens:
        def renew() -> Tokens:
            if self.live_refresh is not None and refresh_token not in self.live_refresh:
                raise PlatformError(Fault.AUTH, "invalid_grant", "the refresh token is dead", status=400)
            return self._new_tokens()

        return self._call("refresh", refresh_token, renew)

    def revoke(self, access_token: str) -> None:
        self._call("revoke", access_token, lambda: None)

    def post_url(self, username: str, public_id: str, kind: Kind) -> str:
        return f"https://www.tiktok.com/@{username}/{kind.value}/{public_id}"

    # -- the model ---------------------------------------------------------------------------------------

    def _call(self, method: str, argument: Any, effect: Callable[[], Any], token: str | None = None) -> Any:
        with self._guard:
            self.calls.append((method, argument))
            step = self.script[method].popleft() if self.script[method] else None
        after: BaseException | None = None
        if isinstance(step, After):
            after = step.error
        elif isinstance(step, BaseException):
            raise step
        elif callable(step):
            step()
        elif step is not None:
            return step
        with self._guard:
            if token is not None and self.live_access is not None and token not in self.live_access:
                raise PlatformError(
                    Fault.AUTH, "access_token_invalid", "the access token is dead", status=401
                )
            answer = effect()
        if after is not None:
            raise after
        return answer

    def _begin(self, request: InitRequest) -> InitAnswer:
        publish_id = f"v_pub_{len(self.uploads) + 1}"
        mode = json.loads(request.body)["mode"]
        self.uploads[publish_id] = Upload(publish_id, mode, request.plan)
        if request.plan is None:
            return InitAnswer(publish_id=publish_id)
        return InitAnswer(publish_id=publish_id, upload_url=f"https://upload.example/{publish_id}")

    def _store(self, upload_url: str, content: bytes, plan: Plan, index: int) -> ChunkAnswer:
        upload = self.uploads[upload_url.rpartition("/")[2]]
        first, last = plan.span(index)
        assert len(content) == last - first + 1, "a chunk of another length than its span"
        assert first <= upload.stored, "a chunk was left out"
        upload.stored = max(upload.stored, last + 1)
        upload.commits += index == plan.count - 1
        return ChunkAnswer(upload.stored, upload.is_complete)

    def _status(self, publish_id: str) -> StatusAnswer:
        upload = self.uploads.get(publish_id)
        if upload is None:
            raise PlatformError(Fault.CONTENT, "invalid_publish_id", "nobody knows this id", status=400)
        if upload.is_complete:
            return INBOX if upload.mode == "inbox" and self.verdict is PUBLISHED else self.verdict
        return StatusAnswer(verdict=Verdict.PENDING, raw="PROCESSING_UPLOAD", stored_bytes=upload.stored)

    def _new_tokens(self) -> Tokens:
        self._tokens += 1
        access, refresh = f"access-{self._tokens}", f"refresh-{self._tokens}"
        if self.live_access is not None:
            self.live_access = {access}
        if self.live_refresh is not None:
            self.live_refresh = {refresh}
        now = self._clock.now()
        return Tokens(
            access=access, refresh=refresh, access_expires_at=now + timedelta(seconds=self.token_seconds),
            refresh_expires_at=now + timedelta(days=365), open_id=self.open_id,
            scopes=self.granted,
        )  # fmt: skip


@dataclass(frozen=True)
class After:
    """A script step: the call has its effect, and then its answer is lost."""

    error: BaseException
