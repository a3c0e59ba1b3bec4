"""Send the bytes of one upload. Every step is on disk before it is taken; the last chunk is the point of no return."""

from dataclasses import dataclass
from datetime import datetime

from daemon import failpoints
from daemon.domain.errors import Fault, PlatformError, UploadUrlDead
from daemon.domain.figures import Tally
from daemon.domain.platform import ChunkAnswer, Plan, StatusAnswer, Verdict
from daemon.domain.reports import ChunkStored, CommitIntended, UploadFinished
from daemon.jobs.tools import PASSING, RemoteStatus, Tools, doubt
from daemon.ports import OpenMedia, PlatformUploader

PROGRESS_S = 1.0
RESYNCS = 3


class _Behind(Exception):
    """The host has less than we believed it to have."""

    def __init__(self, stored: int) -> None:
        super().__init__(stored)
        self.stored = stored


@dataclass(kw_only=True)
class Upload:
    """An upload under way. `send` raises PlatformError, StaleAttempt or Stopped; else the platform has all of it."""

    tools: Tools
    platform: PlatformUploader
    status: RemoteStatus
    plan: Plan
    url: str
    expires_at: datetime
    publish_id: str
    mime_type: str
    file: OpenMedia
    told_at: float = float("-inf")

    def send(self, first_chunk: int = 0) -> None:
        """Send from this chunk on."""
        last = self.plan.count - 1
        for _ in range(RESYNCS):
            try:
                for index in range(first_chunk, last):
                    self._send_chunk(index)
                self._commit()
            except _Behind as host:
                first_chunk = host.stored // self.plan.chunk_size
            else:
                return
        raise PlatformError(
            Fault.TRANSIENT, "range_mismatch", "the upload host keeps losing what it has taken"
        )

    def _send_chunk(self, index: int) -> None:
        """Send one chunk that is not the last, as often as the rules allow; nothing can publish yet."""
        for delay in (*self.tools.policy.chunk_delays_s, None):
            self.tools.stop_if_asked()
            self._check_unchanged()
            failpoints.hit("upload.before_chunk")
            try:
                self._put(index)
            except UploadUrlDead:
                raise
            except PlatformError as error:
                if error.fault not in PASSING - {Fault.RATE} or delay is None:
                    raise
                self.tools.wait(delay)
                if self._stored_after(index):
                    break
            else:
                break
        failpoints.hit("upload.after_chunk")
        self._tell_progress(self.plan.span(index)[1] + 1)

    def _put(self, index: int) -> ChunkAnswer:
        first, last = self.plan.span(index)
        window = self.file.window(first, last)
        answer = self.platform.send_chunk(self.url, window, self.plan, index, self.mime_type)
        self.tools.figures.count(Tally.UPLOAD_BYTES, by=last - first + 1)
        return answer

    def _stored_after(self, index: int) -> bool:
        """Tell whether the host has chunk `index` although its answer was lost."""
        try:
            answer = self.status.read(self.publish_id)
        except PlatformError:
            return False
        if answer.verdict is Verdict.FAILED:
            self.status.adopt(answer)
        self._check_not_behind(index, answer)
        return answer.stored_bytes is not None and answer.stored_bytes > self.plan.span(index)[1]

    def _check_not_behind(self, index: int, answer: StatusAnswer) -> None:
        """Raise _Behind where the host lacks bytes before chunk `index`: it would refuse that chunk for ever."""
        if answer.stored_bytes is not None and answer.stored_bytes < self.plan.span(index)[0]:
            raise _Behind(answer.stored_bytes)

    def _tell_progress(self, stored: int) -> None:
        now = self.tools.clock.monotonic()
        tell = now - self.told_at >= PROGRESS_S
        if tell:
            self.told_at = now
        report = ChunkStored(self.status.post, self.status.fence, stored, tell)
        if tell:
            self.tools.bus.ask(report)  # once a second: so a cancel is heard
        else:
            # Not waited for: a lost offset costs a status read at the next start, a wait costs throughput.
            self.tools.bus.tell(report)

    def _commit(self) -> None:
        """Send the last chunk. From its intent on only reads and chunks of this very upload may be repeated."""
        index = self.plan.count - 1
        error = _incomplete()
        for delay in self.tools.policy.chunk_delays_s:
            self.tools.stop_if_asked()
            self._check_unchanged()
            failpoints.hit("commit.before_intent")
            self.tools.bus.ask(CommitIntended(self.status.post, self.status.fence))
            failpoints.hit("commit.before_call")
            try:
                answer = self._put(index)
                is_complete, error = answer.is_complete, _incomplete()
            except PlatformError as fault:
                is_complete, error = False, fault
            failpoints.hit("commit.after_call")
            if is_complete or self._has_all(error):
                self.tools.ask_surely(UploadFinished(self.status.post, self.status.fence))
                failpoints.hit("commit.after_commit")
                return
            self.tools.wait(delay)
        doubt(error)

    def _has_all(self, error: PlatformError) -> bool:
        """Ask what became of the last chunk. False: the host lacks it, and the address still takes it."""
        try:
            answer = self.status.read_patiently(self.publish_id)
        except PlatformError:
            doubt(error)
        if answer.verdict is not Verdict.PENDING or answer.stored_bytes is None:
            self.status.adopt(answer)
        if (answer.stored_bytes or 0) >= self.plan.size:
            return True
        if isinstance(error, UploadUrlDead) or self.tools.clock.now() >= self.expires_at:
            doubt(error)
        self._check_not_behind(self.plan.count - 1, answer)
        return False

    def _check_unchanged(self) -> None:
        if self.file.has_changed():
            raise PlatformError(
                Fault.CONTENT, "media_changed", "the file was changed while it was sent",
                advice="A changed file is a new post: schedule it again",
            )  # fmt: skip


def _incomplete() -> PlatformError:
    return PlatformError(Fault.UNKNOWN_OUTCOME, "incomplete", "the host took the last chunk and wants more")
