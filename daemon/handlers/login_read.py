"""The login state of a session has been read: remember it, tell it, answer who asked."""

from dataclasses import replace

from daemon.domain.events import EventType
from daemon.domain.ids import AccountName
from daemon.domain.login import Verdict
from daemon.domain.session import Session, Sighting
from daemon.domain.session_reports import LoginRead
from daemon.domain.views import profile_view
from daemon.handlers.browsing import live_session, save_session, tell_session
from daemon.handlers.context import Context


def handle(report: LoginRead, context: Context) -> None:
    """Publish the verdict with its evidence, for the session, its profile and its account."""
    session, verdict = live_session(report.session, context), report.verdict
    if session is not None:
        changed = replace(
            session, login=verdict.login, verdict=verdict.as_dict(), version=session.version + 1
        )
        save_session(changed, context)
        account = _remember(changed, verdict, context)
        about = {"account": account} if account else {}
        tell_session(changed, context, EventType.SESSION_LOGIN_STATE, **verdict.as_dict(), **about)
    if report.request is not None:
        result = {"session": report.session, "login": verdict.as_dict()}
        context.answer(report.request, {"status": "done", "result": result})


def _remember(session: Session, verdict: Verdict, context: Context) -> AccountName | None:
    before = context.unit.sightings().get(session.profile)
    account = _account_of(session, verdict, before, context)
    sighting = Sighting(
        login=verdict.login, method=verdict.method, seen_at=context.now, account=account,
        reason=verdict.reason.value if verdict.reason else None, username=verdict.username,
    )  # fmt: skip
    context.unit.save_sighting(session.profile, sighting)
    context.publish_state(f"profile/{session.profile}", profile_view(session.profile, None, sighting))
    found = context.unit.account(account) if account else None
    if found is not None:
        context.publish_account(found)
    if before is None or before.account != account:
        context.introduce_later()  # the account's sessions may be opened on another profile now
    return account


def _account_of(
    session: Session, verdict: Verdict, before: Sighting | None, context: Context
) -> AccountName | None:
    """Return the account that a profile is logged in as: configured, of the same name, seen now, or seen before."""
    told = context.policy.sessions.accounts.get(session.profile)
    if told is not None:
        return told
    accounts = context.unit.accounts()
    for account in accounts:
        if str(account.name) == session.profile:
            return account.name
    if verdict.username:
        for account in accounts:
            known = account.creator.username if account.creator else account.name
            if known == verdict.username:
                return account.name
        return None
    return before.account if before else None
