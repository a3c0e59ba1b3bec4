"""Tell other systems on the broker what tokd consists of, and take back what is no more."""

from daemon.domain.account import Login
from daemon.domain.introduction import AccountFacts, Facts
from daemon.domain.reports import IntroductionDue
from daemon.handlers.context import Context
from daemon.handlers.standing import profile_of


def handle(report: IntroductionDue, context: Context) -> None:  # noqa: ARG001 - it says nothing more
    """Publish what has changed."""
    introduce(context, again=False)


def introduce(context: Context, *, again: bool) -> None:
    """Publish the introduction where it has changed, or all of it `again`; note in the ledger what stands there."""
    introducer = context.rules.introducer
    if introducer is None:
        return
    unit, sessions = context.unit, context.policy.sessions
    accounts = (
        AccountFacts(found.name, profile_of(found.name, unit, sessions))
        for found in unit.accounts()
        if found.login is not Login.UNLINKED
    )
    facts = Facts(context.rules.node, context.rules.version, tuple(accounts))
    done = introducer.introduce(facts, unit.discoveries(), again=again)
    for topic, payload in done.messages:
        context.outgoing.append(unit.add_discovery(topic, payload, context.now))
    for topic, told in done.told.items():
        unit.save_discovery(topic, told)
