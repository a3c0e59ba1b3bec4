"""A code could not be turned into tokens."""

from daemon.domain.errors import Code, Fault, Rejected
from daemon.domain.reports import ExchangeFailed
from daemon.handlers.context import Context
from daemon.handlers.linked import tell_link_failed

_UNSURE = frozenset({Fault.TRANSIENT, Fault.RATE, Fault.UNKNOWN_OUTCOME})


def handle(report: ExchangeFailed, context: Context) -> None:
    """Answer whoever waits, and tell it: the link is over, the account stays as it was."""
    error = report.error
    what = "TikTok could not be asked" if error.fault in _UNSURE else "TikTok refused the code"
    advice = "" if error.fault in _UNSURE else f" {error.advice}".rstrip()
    message = (
        f"{what} ({error.code}: {error.message}).{advice} A code works once: start again with "
        f"`tokd account link {report.account}`"
    )
    tell_link_failed(context, report.account, error.code, message)
    refusal = Rejected(Code.LINK_FAILED, f"account {report.account} is not linked: {message}")
    context.answer(report.request, {"status": "failed", "error": refusal.as_dict()})
