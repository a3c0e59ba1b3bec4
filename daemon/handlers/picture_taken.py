"""A picture of a session was taken: show it to those who watch its account on the broker."""

from daemon.domain.session_reports import PictureTaken
from daemon.handlers.context import Context
from daemon.handlers.standing import profile_of
from daemon.ports import Outgoing


def handle(report: PictureTaken, context: Context) -> None:
    """Publish it for each account whose sessions are opened on this profile. It is stored nowhere."""
    session = context.unit.session(report.session)
    if session is None or not context.rules.has_broker:
        return
    for account in context.unit.accounts():
        if profile_of(account.name, context.unit, context.policy.sessions) == session.profile:
            context.outgoing.append(
                Outgoing(
                    row=0, transport="mqtt", kind="screenshot", address=account.name, payload=report.image
                )
            )
