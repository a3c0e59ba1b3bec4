"""Deliver one post: check it again, begin it at the platform, send its bytes. Every step is on disk before it is taken.

What may be repeated and what may not is posts-and-schedulers.md section 4.3; the names of the failpoints stand
where a crash has another meaning before and after.
"""

from datetime import datetime, timedelta

from daemon import failpoints
from daemon.domain.errors import (
    OUT_OF_RESOURCES,
    Fault,
    PlatformError,
    Problem,
    Rejected,
    StaleAttempt,
    UploadUrlDead,
)
from daemon.domain.figures import Tally
from daemon.domain.media import compare_with_limits
from daemon.domain.platform import InitAnswer, InitRequest, Plan, PostOrder, Verdict
from daemon.domain.post import Mode, Post, Source
from daemon.domain.reports import (
    AttemptFailed,
    AttemptStarted,
    CreatorRead,
    InitAnswered,
    InitIntended,
    Taken,
    UploadResumed,
    ValidationFailed,
)
from daemon.domain.work import Deliver
from daemon.jobs.tools import RemoteStatus, Stopped, Tools, doubt
from daemon.jobs.upload import Upload
from daemon.ports import OpenMedia, PlatformUploader


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
                upload.send()
        finally:
            if file is not None:
                file.close()

    def _open_file(self, post: Post, *, is_committed: bool = False) -> OpenMedia | None:
        if post.facts is None:
            return None
        try:
            return self._tools.media.open(post.facts)
        except Rejected as refusal:
            self._tools.stop_if_asked()
            if is_committed:
                # The last chunk may still be on its way: without the file nobody can send it again and be sure.
                doubt(PlatformError(Fault.UNKNOWN_OUTCOME, refusal.code.value, refusal.message))
            code = refusal.problems[0].code if refusal.problems else refusal.code.value
            if code == OUT_OF_RESOURCES:  # nothing is wrong with the file: later it can be opened
                raise PlatformError(Fault.TRANSIENT, code, refusal.message) from None
            self._refuse(code, refusal)
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

    def _init(self, post: Post, request: InitRequest, file: OpenMedia | None) -> Upload | None:
        failpoints.hit("init.before_intent")
        self._tools.stop_if_asked()
        if not self._bus.ask(InitIntended(post.id, self._work.fence, request.body_hash, request.plan)):
            return None
        failpoints.hit("init.before_call")
        answer = self._tools.tokens.call(
            self._platform, post.account, lambda token: self._call_init(token, request)
        )
        failpoints.hit("init.after_call")
        sealed = None
        if answer.upload_url is not None:
            sealed = self._tools.vault.seal("upload_url", post.id, answer.upload_url)
        if not self._tools.ask_surely(
            InitAnswered(post.id, self._work.fence, answer.publish_id, sealed, answer.upload_url_seconds)
        ):
            raise StaleAttempt(f"post {post.id} was taken away during its init")
        failpoints.hit("init.after_commit")
        if answer.upload_url is None or request.plan is None or file is None or post.facts is None:
            return None
        return Upload(
            tools=self._tools,
            platform=self._platform,
            status=self._status(post),
            plan=request.plan,
            url=answer.upload_url,
            expires_at=self._expiry(answer.upload_url_seconds),
            publish_id=answer.publish_id,
            mime_type=post.facts.mime_type,
            file=file,
        )

    def _call_init(self, token: str, request: InitRequest) -> InitAnswer:
        figures = self._tools.figures
        try:
            answer = self._platform.init(token, request)
        except PlatformError as error:
            figures.count(Tally.INIT_CALLS, error.fault.value)
            raise
        figures.count(Tally.INIT_CALLS, "ok")
        return answer

    def _status(self, post: Post) -> RemoteStatus:
        return RemoteStatus(
            tools=self._tools,
            platform=self._platform,
            post=post.id,
            fence=self._work.fence,
            account=post.account,
        )

    def _expiry(self, seconds: int) -> datetime:
        return self._tools.clock.now() + timedelta(seconds=seconds)

    # -- going on after a crash --------------------------------------------------------------------------

    def _resume(self, taken: Taken) -> None:
        """Go on with an upload by what the platform says it has, never by what we believe."""
        post, attempt = taken.post, taken.attempt
        if attempt.publish_id is None or attempt.upload_url is None or attempt.url_expires_at is None:
            raise PlatformError(Fault.TRANSIENT, "interrupted", "there is no upload to go on with")
        status = self._status(post)
        answer = status.read_patiently(attempt.publish_id)
        stored = answer.stored_bytes
        is_committed = attempt.commit_sent_at is not None
        if answer.verdict is not Verdict.PENDING or (
            is_committed and (stored is None or stored >= attempt.size)
        ):
            status.adopt(answer)
        if self._tools.clock.now() >= attempt.url_expires_at:
            if is_committed:
                doubt(
                    PlatformError(Fault.UNKNOWN_OUTCOME, "upload_url_expired", "the upload address is over")
                )
            raise UploadUrlDead(Fault.TRANSIENT, "upload_url_expired", "the upload address is over")
        file = self._open_file(post, is_committed=is_committed)
        if file is None or post.facts is None:
            raise PlatformError(Fault.TRANSIENT, "interrupted", "there is no file to go on with")
        plan = Plan(attempt.size, attempt.chunk_size, attempt.chunk_count)
        upload = Upload(
            tools=self._tools,
            platform=self._platform,
            status=status,
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
            upload.send(chunk)
        finally:
            file.close()
