"""The platform was asked about an account: remember what it said, and answer."""

from dataclasses import replace

from daemon.domain.errors import Code, Fault, Rejected
from daemon.domain.reports import AccountInspected
from daemon.handlers.context import Context


def handle(report: AccountInspected, context: Context) -> None:
    """Answer with the account as it stands; `checked` tells whether TikTok has answered."""
    error = report.error
    account = context.unit.account(report.account, lock=True)
    is_of_now = (
        account is not None and account.linked_at == report.linked_at
    )  # else it was linked anew meanwhile
    if error is not None and error.fault is Fault.AUTH and is_of_now:
        context.mark_needs_login(report.account, f"{error.code}: {error.message}")
        account = context.unit.account(report.account)
    if account is None:
        gone = Rejected(Code.NO_SUCH_ACCOUNT, f"there is no account {report.account} any more")
        context.answer(report.request, {"status": "rejected", "error": gone.as_dict()})
        return
    if report.creator is not None and account.creator != report.creator:
        account = replace(account, creator=report.creator)
        context.save_account(account)
    view = context.view_account(account) | {"checked": error is None}
    if error is not None:
        view["problem"] = f"{error.code}: {error.message}"
    context.answer(report.request, {"status": "done", "result": view})
