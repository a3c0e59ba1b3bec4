"""Which job does which work."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass

from daemon.domain.errors import Code, Fault, PlatformError, Rejected, StaleAttempt
from daemon.domain.post import Post
from daemon.domain.reports import Answered, MediaInspected, WithdrawalAnswered, WorkDied
from daemon.domain.work import (
    AskSession,
    Browse,
    Deliver,
    EndSession,
    ExchangeCode,
    FetchMedia,
    Follow,
    GiveBack,
    InspectAccount,
    InspectMedia,
    ProlongSession,
    RefreshAccount,
    SurveyProfiles,
    SweepMedia,
    SweepSessions,
    UnlinkTokens,
    Withdraw,
    Work,
)  # fmt: skip
from daemon.jobs.deliver import Delivery
from daemon.jobs.fetch import FetchJobs
from daemon.jobs.follow import follow
from daemon.jobs.linking import AccountJobs
from daemon.jobs.sessions import SessionJobs
from daemon.jobs.tools import Stopped, Tools
from daemon.ports import PlatformUploader

LOG = logging.getLogger("tokd.jobs")


@dataclass(frozen=True, kw_only=True)
class Jobs:
    """Runs work in the calling worker thread."""

    tools: Tools
    platforms: Mapping[str, PlatformUploader]
    sessions: SessionJobs
    fetches: FetchJobs | None = None  # None: there is no media root to keep files in

    def run(self, work: Work) -> None:
        """Do the work and report. An error that is nobody's decision is logged, and a delivery is recovered."""
        try:
            match work:
                case Deliver():
                    Delivery(work, self.tools, self._platform_of(self._post(work.post))).run()
                case Follow():
                    post = self._post(work.post)
                    follow(work, self.tools, self._platform_of(post), post)
                case InspectMedia() | FetchMedia() | SweepMedia():
                    self._take_in(work)
                case Withdraw():
                    self._withdraw(work)
                case RefreshAccount() | ExchangeCode() | GiveBack() | UnlinkTokens() | InspectAccount():
                    self._accounts.run(work)
                case _:
                    self._serve_session(work)
        except (StaleAttempt, Stopped):
            return
        except Exception as error:
            LOG.exception("work %s failed", work)
            self._report_death(work, error)

    def _take_in(self, work: InspectMedia | FetchMedia | SweepMedia) -> None:
        match work:
            case InspectMedia():
                self._inspect(work)
            case FetchMedia():
                self._fetch(work)
            case SweepMedia():
                if self.fetches is not None:
                    self.fetches.sweep()

    def _serve_session(self, work: Work) -> None:
        match work:
            case Browse():
                self.sessions.browse(work)
            case EndSession():
                self.sessions.end(work)
            case ProlongSession():
                self.sessions.prolong(work)
            case AskSession():
                self.sessions.ask(work)
            case SurveyProfiles():
                self.sessions.survey(work)
            case SweepSessions():
                self.sessions.sweep()

    def _report_death(self, work: Work, error: Exception) -> None:
        """Leave nobody waiting: a delivery is taken up again, a caller is told."""
        match work:
            case Deliver():
                self.tools.bus.tell(WorkDied(work.post, work.fence, repr(error)))
            case InspectMedia() | FetchMedia():
                refusal = Rejected(
                    Code.INTERNAL, "tokd failed on this file; its log says more", retryable=True
                )
                self.tools.bus.tell(MediaInspected(work.command, None, refusal))
            case SurveyProfiles() | AskSession():
                if work.request is not None:
                    refusal = Rejected(
                        Code.INTERNAL, "tokd failed on this; its log says more", retryable=True
                    )
                    self.tools.bus.tell(
                        Answered(work.request, {"status": "failed", "error": refusal.as_dict()})
                    )
            case ExchangeCode() | UnlinkTokens() | InspectAccount():
                self._accounts.report_death(work)
            case Withdraw():
                fault = PlatformError(
                    Fault.UNKNOWN_OUTCOME, "internal", "tokd failed on this; its log says more"
                )
                self.tools.bus.tell(WithdrawalAnswered(work.command, work.post, fault))

    @property
    def _accounts(self) -> AccountJobs:
        return AccountJobs(tools=self.tools, platforms=self.platforms)

    def _post(self, post_id: str) -> Post:
        post: Post | None = self.tools.bus.read(lambda unit: unit.post(post_id))  # type: ignore[arg-type]
        if post is None:
            raise StaleAttempt(f"there is no post {post_id}")
        return post

    def _platform_of(self, post: Post) -> PlatformUploader:
        return self.platforms[post.platform]

    def _inspect(self, work: InspectMedia) -> None:
        facts, refusal = None, None
        try:
            # Another order of the same file may have waited in the same line: it has been checked by now.
            facts = self.tools.media.recall(work.name) or self.tools.media.inspect(work.name)
        except Rejected as error:
            refusal = error
        if self.tools.stopping.is_set() and facts is None:
            return  # a check cut short by the stop is no verdict; the next start checks again
        self.tools.ask_surely(MediaInspected(work.command, facts, refusal))

    def _fetch(self, work: FetchMedia) -> None:
        if self.fetches is not None:
            self.fetches.fetch(work)
            return
        refusal = Rejected(
            Code.NOT_CONFIGURED, "there is no folder to fetch into; set media.roots", field="args.url"
        )
        self.tools.ask_surely(MediaInspected(work.command, None, refusal, work.url))

    def _withdraw(self, work: Withdraw) -> None:
        post = self._post(work.post)
        platform, publish_id = self._platform_of(post), post.publish_id or ""
        fault: PlatformError | None = None
        try:
            self.tools.tokens.call(platform, post.account, lambda token: platform.cancel(token, publish_id))
        except PlatformError as error:
            fault = error
        self.tools.ask_surely(WithdrawalAnswered(work.command, work.post, fault))
