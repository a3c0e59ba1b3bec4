"""Deliver one post: check it again, begin it at the platform, send its bytes. Every step is on disk before it is taken.

What may be repeated and what may not is posts-and-schedulers.md section 4.3; the names of the failpoints stand
where a crash has another meaning before and after.
"""

import threading
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import NoReturn

from daemon import failpoints
from daemon.domain.errors import Fault, PlatformError, Problem, Rejected, StaleAttempt, UploadUrlDead
from daemon.domain.media import compare_with_limits
from daemon.domain.platform import InitRequest, Plan, PostOrder, StatusAnswer, Verdict
from daemon.domain.policy import Policy
from daemon.domain.post import Mode, Post, Source
from daemon.domain.reports import (
    AttemptFailed,
    AttemptStarted,
    ChunkStored,
    CommitIntended,
    CreatorRead,
    InitAnswered,
    InitIntended,
    StatusRead,
    Taken,
    UploadFinished,
    UploadResumed,
    ValidationFailed,
)  # fmt: skip
from daemon.domain.work import Deliver
from daemon.jobs.tokens import TokenDesk
from daemon.ports import Bus, Clock, MediaProbe, OpenMedia, PlatformUploader, Vault

PROGRESS_S = 1.0
RESYNCS = 3


class Stopped(Exception):
    """The daemon is stopping: leave the post where it is."""


class _Behind(Exception):
    """The host has less than we believed it to have."""

    def __init__(self, stored: int) -> None:
        super().__init__(stored)
        self.stored = stored


@dataclass(frozen=True, kw_only=True)
class Tools:
    """What a delivery works with."""

    bus: Bus
    clock: Clock
    vault: Vault
    media: MediaProbe
    tokens: TokenDesk
    policy: Policy
    stopping: threading.Event


@dataclass
class _Upload:
    """An upload under way."""

    plan: Plan
    url: str
    expires_at: datetime
    publish_id: str
    mime_type: str
    file: OpenMedia
    told_at: float = float("-inf")


class Delivery:
    """One run of the Deliver work. Ends by reporting what became of it, or silently where it is not its turn."""

    def __init__(self, work: Deliver, tools: Tools, platform: PlatformUploader) -> None:
        self._work = work
        self._tools = tools
        self._platform = platform
        self._bus = tools.bus

    def run(self) -> None:
        """Deliver. Raises nothing that a platform or another attempt can cause."""
        post_id, fence = self._work.post, self._work.fence
        try:
            failpoints.hit("attempt.before_start")
            taken: Taken | None = self._bus.ask(AttemptStarted(post_id, fence))
            failpoints.hit("attempt.after_start")
            if taken is None:
                return
            if self._work.resume:
                self._resume(taken)
            else:
                self._begin(taken)
        except (StaleAttempt, Stopped):
            return
        except PlatformError as error:
            self._report_failure(error)

    def _report_failure(self, error: PlatformError) -> None:
        is_dead = isinstance(error, UploadUrlDead)
        try:
            self._bus.ask(AttemptFailed(self._work.post, self._work.fence, error, url_is_dead=is_dead))
        except StaleAttempt:
            return

    # -- a fresh attempt ---------------------------------------------------------------------------------

    def _begin(self, taken: Taken) -> None:
        post = taken.post
        file = self._open_file(post)
        try:
            if not self._is_allowed(post):
                return
            failpoints.hit("attempt.after_validation")
            request = self._platform.prepare(
                PostOrder(
                    mode=post.mode, kind=post.kind, source=post.source, description=post.description,
                    facts=post.facts, urls=post.media if post.source is Source.URL else (),
                )
            )  # fmt: skip
            upload = self._init(post, request, file)
            if upload is not None:
                self._send(upload, 0)
        finally:
            if file is not None:
                file.close()

    def _open_file(self, post: Post, *, is_committed: bool = False) -> OpenMedia | None:
        if post.facts is None:
            return None
        try:
            return self._tools.media.open(post.facts)
        except Rejected as refusal:
            self._stop_if_asked()
            if is_committed:
                # The last chunk may still be on its way: without the file nobody can send it again and be sure.
                self._doubt(PlatformError(Fault.UNKNOWN_OUTCOME, refusal.code.value, refusal.message))
            self._refuse(refusal.problems[0].code if refusal.problems else refusal.code.value, refusal)
            raise StaleAttempt("refused") from None

    def _refuse(self, code: str, refusal: Rejected) -> None:
        problems = refusal.problems or (Problem(refusal.code.value, refusal.message),)
        self._bus.ask(ValidationFailed(self._work.post, self._work.fence, code, problems))

    def _is_allowed(self, post: Post) -> bool:
        """Ask what the creator may do right now, and compare: nothing is downgraded silently."""
        if post.mode is Mode.INBOX:
            return True  # the person chooses in the app; and the question needs a scope that drafts do not
        creator = self._tools.tokens.call(self._platform, post.account, self._platform.creator)
        self._bus.tell(CreatorRead(post.account, creator))
        problems = tuple(
            problem
            for _, problem in self._platform.check_creator(creator, post.description, post.mode, post.facts)
        )
        if post.facts is not None:
            problems += compare_with_limits(post.facts, self._platform.limits, creator.duration_max_s)
        if problems:
            self._bus.ask(ValidationFailed(post.id, self._work.fence, problems[0].code, problems))
        return not problems

    def _init(self, post: Post, request: InitRequest, file: OpenMedia | None) -> _Upload | None:
        failpoints.hit("init.before_intent")
        self._stop_if_asked()
        if not self._bus.ask(InitIntended(post.id, self._work.fence, request.body_hash, request.plan)):
            return None
        failpoints.hit("init.before_call")
        answer = self._tools.tokens.call(
            self._platform, post.account, lambda token: self._platform.init(token, request)
        )
        failpoints.hit("init.after_call")
        sealed = None
        if answer.upload_url is not None:
            sealed = self._tools.vault.seal("upload_url", post.id, answer.upload_url)
        if not self._bus.ask(
            InitAnswered(post.id, self._work.fence, answer.publish_id, sealed, answer.upload_url_seconds)
        ):
            raise StaleAttempt(f"post {post.id} was taken away during its init")
        failpoints.hit("init.after_commit")
        if answer.upload_url is None or request.plan is None or file is None or post.facts is None:
            return None
        return _Upload(
            plan=request.plan,
            url=answer.upload_url,
            expires_at=self._expiry(answer.upload_url_seconds),
            publish_id=answer.publish_id,
            mime_type=post.facts.mime_type,
            file=file,
        )

    def _expiry(self, seconds: int) -> datetime:
        return self._tools.clock.now() + timedelta(seconds=seconds)

    # -- the bytes ---------------------------------------------------------------------------------------

    def _send(self, upload: _Upload, first_chunk: int) -> None:
        last = upload.plan.count - 1
        for _ in range(RESYNCS):
            try:
                for index in range(first_chunk, last):
                    self._send_chunk(upload, index)
                self._commit(upload)
            except _Behind as host:
                first_chunk = host.stored // upload.plan.chunk_size
            else:
                return
        raise PlatformError(
            Fault.TRANSIENT, "range_mismatch", "the upload host keeps losing what it has taken"
        )

    def _send_chunk(self, upload: _Upload, index: int) -> None:
        """Send one chunk that is not the last, as often as the rules allow; nothing can publish yet."""
        for delay in (*self._tools.policy.chunk_delays_s, None):
            self._stop_if_asked()
            self._check_unchanged(upload)
            failpoints.hit("upload.before_chunk")
            try:
                self._platform.send_chunk(
                    upload.url,
                    upload.file.window(*upload.plan.span(index)),
                    upload.plan,
                    index,
                    upload.mime_type,
                )
            except UploadUrlDead:
                raise
            except PlatformError as error:
                if error.fault not in {Fault.TRANSIENT, Fault.UNKNOWN_OUTCOME} or delay is None:
                    raise
                self._wait(delay)
                if self._stored_after(upload, index):
                    break
            else:
                break
        failpoints.hit("upload.after_chunk")
        self._tell_progress(upload, upload.plan.span(index)[1] + 1)

    def _stored_after(self, upload: _Upload, index: int) -> bool:
        """Tell whether the host has chunk `index` although its answer was lost."""
        try:
            answer = self._read_status(upload.publish_id)
        except PlatformError:
            return False
        if answer.verdict is Verdict.FAILED:
            self._adopt(answer)
        self._check_not_behind(upload, index, answer)
        return answer.stored_bytes is not None and answer.stored_bytes > upload.plan.span(index)[1]

    @staticmethod
    def _check_not_behind(upload: _Upload, index: int, answer: StatusAnswer) -> None:
        """Raise _Behind where the host lacks bytes before chunk `index`: it would refuse that chunk for ever."""
        if answer.stored_bytes is not None and answer.stored_bytes < upload.plan.span(index)[0]:
            raise _Behind(answer.stored_bytes)

    def _tell_progress(self, upload: _Upload, stored: int) -> None:
        now = self._tools.clock.monotonic()
        tell = now - upload.told_at >= PROGRESS_S
        if tell:
            upload.told_at = now
        report = ChunkStored(self._work.post, self._work.fence, stored, tell)
        if tell:
            self._bus.ask(report)  # once a second: so a cancel is heard
        else:
            # Not waited for: a lost offset costs a status read at the next start, a wait costs throughput.
            self._bus.tell(report)

    def _commit(self, upload: _Upload) -> None:
        """Send the last chunk. From its intent on only reads and chunks of this very upload may be repeated."""
        index = upload.plan.count - 1
        self._stop_if_asked()
        self._check_unchanged(upload)
        error = _incomplete()
        for delay in self._tools.policy.chunk_delays_s:
            failpoints.hit("commit.before_intent")
            self._bus.ask(CommitIntended(self._work.post, self._work.fence))
            failpoints.hit("commit.before_call")
            try:
                answer = self._platform.send_chunk(
                    upload.url,
                    upload.file.window(*upload.plan.span(index)),
                    upload.plan,
                    index,
                    upload.mime_type,
                )
                is_complete, error = answer.is_complete, _incomplete()
            except PlatformError as fault:
                is_complete, error = False, fault
            failpoints.hit("commit.after_call")
            if is_complete or self._has_all(upload, error):
                self._bus.ask(UploadFinished(self._work.post, self._work.fence))
                failpoints.hit("commit.after_commit")
                return
            self._wait(delay)
        self._doubt(error)

    def _has_all(self, upload: _Upload, error: PlatformError) -> bool:
        """Ask what became of the last chunk. False: the host lacks it, and the address still takes it."""
        try:
            answer = self._status_patiently(upload.publish_id)
        except PlatformError:
            self._doubt(error)
        if answer.verdict is not Verdict.PENDING or answer.stored_bytes is None:
            self._adopt(answer)
        if (answer.stored_bytes or 0) >= upload.plan.size:
            return True
        if isinstance(error, UploadUrlDead) or self._tools.clock.now() >= upload.expires_at:
            self._doubt(error)
        self._check_not_behind(upload, upload.plan.count - 1, answer)
        return False

    def _doubt(self, error: PlatformError) -> NoReturn:
        raise PlatformError(Fault.UNKNOWN_OUTCOME, error.code, error.message, status=error.status) from None

    def _adopt(self, answer: StatusAnswer) -> NoReturn:
        """Hand the platform's word to the core and leave: the status reads go on from there."""
        self._bus.ask(StatusRead(self._work.post, self._work.fence, answer))
        raise StaleAttempt("the platform has spoken")

    # -- going on after a crash --------------------------------------------------------------------------

    def _resume(self, taken: Taken) -> None:
        """Go on with an upload by what the platform says it has, never by what we believe."""
        post, attempt = taken.post, taken.attempt
        if attempt.publish_id is None or attempt.upload_url is None or attempt.url_expires_at is None:
            raise PlatformError(Fault.TRANSIENT, "interrupted", "there is no upload to go on with")
        answer = self._status_patiently(attempt.publish_id)
        stored = answer.stored_bytes
        is_committed = attempt.commit_sent_at is not None
        if answer.verdict is not Verdict.PENDING or (
            is_committed and (stored is None or stored >= attempt.size)
        ):
            self._adopt(answer)
        if self._tools.clock.now() >= attempt.url_expires_at:
            if is_committed:
                self._doubt(
                    PlatformError(Fault.UNKNOWN_OUTCOME, "upload_url_expired", "the upload address is over")
                )
            raise UploadUrlDead(Fault.TRANSIENT, "upload_url_expired", "the upload address is over")
        file = self._open_file(post, is_committed=is_committed)
        if file is None or post.facts is None:
            raise PlatformError(Fault.TRANSIENT, "interrupted", "there is no file to go on with")
        plan = Plan(attempt.size, attempt.chunk_size, attempt.chunk_count)
        upload = _Upload(
            plan=plan,
            url=self._tools.vault.open("upload_url", post.id, attempt.upload_url),
            expires_at=attempt.url_expires_at,
            publish_id=attempt.publish_id,
            mime_type=post.facts.mime_type,
            file=file,
        )
        try:
            known = attempt.stored_bytes if stored is None else stored
            chunk = plan.count - 1 if is_committed else min(known // plan.chunk_size, plan.count - 1)
            self._bus.ask(UploadResumed(post.id, self._work.fence, known))
            self._send(upload, chunk)
        finally:
            file.close()

    def _status_patiently(self, publish_id: str) -> StatusAnswer:
        for delay in (*self._tools.policy.chunk_delays_s, None):
            self._stop_if_asked()
            try:
                return self._read_status(publish_id)
            except PlatformError as error:
                if error.fault not in {Fault.TRANSIENT, Fault.UNKNOWN_OUTCOME, Fault.RATE} or delay is None:
                    raise
                self._wait(delay)
        raise PlatformError(Fault.TRANSIENT, "status_unread", "the status could not be read")

    def _read_status(self, publish_id: str) -> StatusAnswer:
        account = self._bus.read(lambda unit: unit.post(self._work.post)).account
        return self._tools.tokens.call(
            self._platform, account, lambda token: self._platform.status(token, publish_id)
        )

    # -- small things ------------------------------------------------------------------------------------

    def _check_unchanged(self, upload: _Upload) -> None:
        if upload.file.has_changed():
            raise PlatformError(
                Fault.CONTENT, "media_changed", "the file was changed while it was sent",
                advice="A changed file is a new post: schedule it again",
            )  # fmt: skip

    def _stop_if_asked(self) -> None:
        if self._tools.stopping.is_set():
            raise Stopped

    def _wait(self, delay: float) -> None:
        if self._tools.stopping.wait(delay):
            raise Stopped


def _incomplete() -> PlatformError:
    return PlatformError(Fault.UNKNOWN_OUTCOME, "incomplete", "the host took the last chunk and wants more")
