"""Browser sessions under way: one worker thread stays with each from the order to the last trace on disk."""

import base64
import logging
import threading
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import timedelta

from daemon.domain.errors import Code, Interrupted, Problem, Rejected, StorageFailed
from daemon.domain.ids import ProfileName, SessionId
from daemon.domain.reports import Answered
from daemon.domain.session import (
    BrowserEnded,
    Closing,
    EndingSoon,
    EndReason,
    HandedOver,
    LoginSeen,
    Pictured,
    Session,
    SessionKind,
    SessionNews,
    SessionState,
    Started,
    Workplace,
)  # fmt: skip
from daemon.domain.session_reports import (
    LoginRead,
    PictureTaken,
    ProfilesRead,
    SessionEnded,
    SessionEndingSoon,
    SessionMoved,
    SessionOpened,
    SessionsSwept,
    SessionStarted,
)
from daemon.domain.work import AskSession, Browse, EndSession, ProlongSession, Question, SurveyProfiles
from daemon.jobs.tools import Stopped, Tools
from daemon.ports import Browser, OpenBrowser, Pictures, Profiles

BROKEN = Problem(Code.INTERNAL.value, "tokd failed on this session; its log says more")
LOG = logging.getLogger("tokd.sessions")


class _Unwanted(Exception):
    """Somebody asked for the end before there was a browser."""

    def __init__(self, reason: EndReason) -> None:
        super().__init__(reason)
        self.reason = reason


def _broken() -> BrowserEnded:
    return BrowserEnded(reason=EndReason.FAILED, error=BROKEN)


@dataclass
class _Live:
    """One session in a worker's hands; `browser` from the moment it is being started."""

    browser: OpenBrowser | None = None
    closing: EndReason | None = None
    promote_to: ProfileName | None = None
    questions: dict[str, AskSession] = field(default_factory=dict)


class LiveSessions:
    """The sessions of this process, for whoever wants something of one. Safe from any thread; nothing blocks."""

    def __init__(self) -> None:
        self._live: dict[SessionId, _Live] = {}
        self._early: dict[SessionId, EndReason] = {}  # asked to end while they still waited for a worker
        self._guard = threading.Condition()
        self._shutdown = False
        self._asked = 0

    def begin(self, session: SessionId) -> None:
        """Note that a worker has this session now."""
        with self._guard:
            early = self._early.pop(session, None)
            self._live[session] = _Live(closing=EndReason.SHUTDOWN if self._shutdown else early)

    def wanted_end(self, session: SessionId) -> EndReason | None:
        """Tell whether somebody has asked for the end of a session already."""
        with self._guard:
            return self._live[session].closing

    def attach(self, session: SessionId, browser: OpenBrowser) -> None:
        """Hand over the browser; an end that was asked for meanwhile is passed on."""
        with self._guard:
            live = self._live[session]
            live.browser = browser
            if live.closing is not None:
                browser.close(live.closing)

    def close(self, session: SessionId, reason: EndReason, promote_to: ProfileName | None = None) -> None:
        """Ask for the end, now or as soon as a worker has the session."""
        with self._guard:
            live = self._live.get(session)
            if live is None:
                self._early[session] = reason
                return
            if live.closing is not None:
                live.promote_to = (
                    live.promote_to or promote_to
                )  # it closes anyway: the clone may still be kept
                return
            live.closing, live.promote_to = reason, promote_to
            if live.browser is not None:
                live.browser.close(reason)

    def close_all(self, deadline_s: float) -> bool:
        """Ask all to close, wait for their last trace to go; return whether it has."""
        with self._guard:
            self._shutdown = True
            for session in list(self._live):
                self.close(session, EndReason.SHUTDOWN)
            return self._guard.wait_for(lambda: not self._live, timeout=deadline_s)

    def extend(self, session: SessionId, timeout_s: float) -> None:
        """Move the deadline."""
        with self._guard:
            live = self._live.get(session)
            if live is not None and live.browser is not None:
                live.browser.extend(timeout_s)

    def ask(self, question: AskSession) -> bool:
        """Put a question; return False where there is nobody to ask."""
        with self._guard:
            live = self._live.get(question.session)
            if live is None or live.browser is None or live.closing is not None:
                return False
            self._asked += 1
            token = str(self._asked)
            live.questions[token] = question
            if question.question is Question.CHECK:
                live.browser.check(token)
            else:
                live.browser.picture(token)
            return True

    def answered(self, session: SessionId, token: str | None) -> AskSession | None:
        """Return the question that this token stands for, once."""
        with self._guard:
            return self._live[session].questions.pop(token, None) if token else None

    def promotion(self, session: SessionId) -> ProfileName | None:
        """Return the profile that the clone was asked to become."""
        with self._guard:
            return self._live[session].promote_to

    def end(self, session: SessionId) -> list[AskSession]:
        """Forget a session; return the questions that nobody has answered."""
        with self._guard:
            live = self._live.pop(session, _Live())
            self._guard.notify_all()
            return list(live.questions.values())

    def forget(self, session: SessionId) -> None:
        """Forget what came for a session while its end was being written down."""
        with self._guard:
            self._early.pop(session, None)

    def names(self) -> frozenset[SessionId]:
        """Return the sessions that a worker has."""
        with self._guard:
            return frozenset(self._live)


@dataclass(frozen=True, kw_only=True)
class SessionJobs:
    """Runs the work of sessions in the calling worker thread."""

    tools: Tools
    profiles: Profiles
    browser: Browser
    live: LiveSessions
    pictures: Pictures
    picture_keep_s: float = 86_400
    creation_timeout_s: float = 30
    publishes_pictures: bool = False
    is_warm: threading.Event = field(default_factory=threading.Event)

    def end(self, work: EndSession) -> None:
        """Pass on that a session is to close."""
        self.live.close(work.session, work.reason, work.promote_to)

    def prolong(self, work: ProlongSession) -> None:
        """Pass on a later deadline."""
        self.live.extend(work.session, work.timeout_s)

    def ask(self, work: AskSession) -> None:
        """Pass on a question, or say that there is nobody to answer it."""
        if not self.live.ask(work):
            self._refuse(work)

    def survey(self, work: SurveyProfiles) -> None:
        """Read the disk."""
        if work.request is not None:
            self.tools.bus.tell(ProfilesRead(work.request, tuple(self.profiles.facts())))

    def sweep(self) -> None:
        """Clean up after dead owners; at first also do what the first session would wait for."""
        found = self.profiles.survey()
        for place in found.orphans:
            LOG.warning("session %s has no owner any more: cleaning up", place.session)
            try:
                self.browser.end(place)
            except Exception:
                LOG.exception("what is left of session %s could not be ended", place.session)
            finally:
                self.profiles.release(place)  # else its lock would look like an owner's to the next sweep
        removed = frozenset(place.session for place in found.orphans)
        self.tools.ask_surely(SessionsSwept(removed, found.held | self.live.names()))
        self.pictures.drop(self.tools.clock.now() - timedelta(seconds=self.picture_keep_s))
        if not self.is_warm.is_set():
            self.is_warm.set()
            if self.profiles.facts():
                self.browser.warm()

    def browse(self, work: Browse) -> None:
        """Open the session and stay until nothing is left of it. Whatever happens, its end is reported."""
        session: Session | None = self.tools.bus.read(lambda unit: unit.session(work.session))
        if session is None or session.is_over:
            return
        self.live.begin(session.id)
        report: SessionEnded | None = SessionEnded(session=session.id, end=_broken())
        try:
            report = self._stay(session)
        except Rejected as refusal:
            problem = Problem(refusal.code.value, refusal.message)
            report = SessionEnded(
                session=session.id, end=BrowserEnded(reason=EndReason.FAILED, error=problem)
            )
        except _Unwanted as unwanted:
            report = SessionEnded(session=session.id, end=BrowserEnded(reason=unwanted.reason))
        except (Stopped, StorageFailed):
            report = None  # the ledger is closed: the next start finds the session without an owner
            raise
        except Exception:
            LOG.exception("session %s failed", session.id)
        finally:
            left = self.live.end(session.id)
            for question in left:
                self._refuse(question)
            if report is not None:
                with suppress(Stopped, StorageFailed):
                    self.tools.ask_surely(report)
            self.live.forget(session.id)

    def _stay(self, session: Session) -> SessionEnded:
        order = session.order
        self.browser.check(order)
        self._stop_if_unwanted(session.id)
        if session.kind is not SessionKind.LOGIN:
            self._move(session, SessionState.CLONING)
        place = self._prepare(session)
        end, is_clean = _broken(), False
        promoted: dict[str, str] = {}
        try:
            self._stop_if_unwanted(session.id)
            self._move(session, SessionState.STARTING, place.warnings)
            opened = self.browser.open(order, place)
            self.live.attach(session.id, opened)
            for news in opened.news():
                if isinstance(news, BrowserEnded):
                    end = news
                else:
                    self._pass_on(session, news)
        finally:
            try:
                self.browser.end(place)
                promoted = self._promote(session, place, end)
                if (lost := self.profiles.loss(place)) is not None and end.error is None:
                    end = replace(end, error=Problem(Code.KEYRING_UNREACHABLE.value, lost))
            finally:
                is_clean = self.profiles.release(place)
        return SessionEnded(session=session.id, end=end, is_clean=is_clean, **promoted)

    def _prepare(self, session: Session) -> Workplace:
        """Clone the profile, as long as somebody wants it and the time to open is not over."""
        until = self.tools.clock.monotonic() + self.creation_timeout_s

        def stop() -> bool:
            is_unwanted = self.live.wanted_end(session.id) is not None
            return is_unwanted or self.tools.clock.monotonic() >= until

        try:
            return self.profiles.prepare(session.order, stop)
        except Interrupted:
            self._stop_if_unwanted(session.id)
            told = f"the profile was not cloned within {self.creation_timeout_s:g} s; see session.creation_timeout"
            raise Rejected(Code.SESSION_TIMEOUT, told, retryable=True) from None

    def _pass_on(self, session: Session, news: SessionNews) -> None:
        match news:
            case Started():
                self._report(
                    SessionStarted(
                        session=session.id, pid=news.pid, version=news.version, is_sandboxed=news.is_sandboxed,
                        warnings=news.warnings,
                    )
                )  # fmt: skip
                if session.kind is SessionKind.TIKTOK:
                    self._move(session, SessionState.DETECTING)
            case LoginSeen():
                asked = self.live.answered(session.id, news.token)
                self._report(LoginRead(session.id, news.verdict, asked.request if asked else None))
            case HandedOver():
                self._report(SessionOpened(session.id, news.timeout_s))
            case EndingSoon():
                self._report(SessionEndingSoon(session.id, news.seconds))
            case Closing():
                self._move(session, SessionState.CLOSING)
            case Pictured():
                self._show(session, news)

    def _show(self, session: Session, news: Pictured) -> None:
        asked = self.live.answered(session.id, news.token)
        if asked is None or asked.request is None:
            return
        if news.refusal is not None:
            problem = Rejected(Code.SESSION_BUSY, news.refusal, retryable=True)
            body: dict[str, object] = {"status": "failed", "error": problem.as_dict()}
        elif (path := self._keep(session, news)) is None:
            full = Rejected(
                Code.DISK_FULL, "the picture could not be stored; tokd's log says why", retryable=True
            )
            body = {"status": "failed", "error": full.as_dict()}
        else:
            result: dict[str, object] = {"session": session.id, "path": path, "bytes": len(news.image)}
            result["media_type"] = news.media_type
            if asked.inline:
                result["image"] = base64.b64encode(news.image).decode("ascii")
            body = {"status": "done", "result": result}
            if self.publishes_pictures:
                self.tools.bus.tell(PictureTaken(session.id, base64.b64encode(news.image).decode("ascii")))
        self.tools.bus.tell(Answered(asked.request, body))

    def _keep(self, session: Session, news: Pictured) -> str | None:
        """Store a picture; a full disk costs the picture, not the session."""
        try:
            return self.pictures.keep(session.id, news.image, news.media_type, self.tools.clock.now())
        except OSError:
            LOG.exception("a picture of session %s could not be stored", session.id)
            return None

    def _promote(self, session: Session, place: Workplace, end: BrowserEnded) -> dict[str, str]:
        profile = self.live.promotion(session.id)
        if profile is None:
            return {}
        why = "the browser did not close cleanly: the profile stays as it was"
        if end.is_clean:
            try:
                return {"backup": self.profiles.promote(place, profile), "promoted_to": profile}
            except Rejected as refusal:
                why = refusal.message
        kept = self.profiles.keep(place, profile)  # the session is over: what was done in it is nowhere else
        return {"promotion_error": why} | ({"kept_clone": kept} if kept else {})

    def _move(self, session: Session, state: SessionState, warnings: tuple[str, ...] = ()) -> None:
        self._report(SessionMoved(session=session.id, state=state, warnings=warnings))

    def _report(self, report: object) -> None:
        """Report in order. The browser does not wait for it: its worker process goes on meanwhile."""
        self.tools.ask_surely(report)

    def _stop_if_unwanted(self, session: SessionId) -> None:
        reason = self.live.wanted_end(session)
        if reason is not None:
            raise _Unwanted(reason)

    def _refuse(self, work: AskSession) -> None:
        if work.request is not None:
            refusal = Rejected(Code.SESSION_BUSY, f"session {work.session} is closing", field="args.session")
            self.tools.bus.tell(Answered(work.request, {"status": "rejected", "error": refusal.as_dict()}))
