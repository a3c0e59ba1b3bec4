"""keys/reseal: seal what is sealed with an old key under the newest, a page at a time."""

from dataclasses import dataclass, replace
from typing import Any

from daemon.domain.commands import ResealSecrets
from daemon.domain.errors import Code, Rejected, StartRefused
from daemon.domain.ids import AccountName, PostId
from daemon.domain.linking import VERIFIER
from daemon.handlers.context import Context
from daemon.handlers.sealing import under_newest_key
from daemon.ports import Unit, Vault

PAGE = 50
_ACCOUNTS = "account:"  # how the mark of a page of accounts begins


@dataclass(slots=True)
class Page:
    """What came of a page. `next` continues; None is the end."""

    resealed: int = 0
    unreadable: int = 0  # no key opens them: they are left as they are
    next: str | None = None


def handle(command: ResealSecrets, context: Context) -> dict[str, Any]:
    """Do one page. Raises Rejected(not_configured) where the keys cannot be read."""
    if command.after is None:
        try:
            context.rules.vault.read_keys()
        except StartRefused as error:
            raise Rejected(Code.NOT_CONFIGURED, str(error)) from error
    page = reseal_page(context.unit, context.rules.vault, command.after)
    return {"resealed": page.resealed, "unreadable": page.unreadable, "next": page.next}


def reseal_page(unit: Unit, vault: Vault, after: str | None) -> Page:
    """Seal one page anew: the pending links and the accounts first, then attempts that hold an upload address.

    Between two pages others write, and under the newest key only (handlers/sealing.py): a row that a page has passed
    is never behind again.
    """
    page = Page()
    if after is None:
        _reseal_links(page, unit, vault)
    if after is None or after.startswith(_ACCOUNTS):
        last = AccountName(after.removeprefix(_ACCOUNTS)) if after is not None else None
        names = unit.account_names(last, PAGE)
        for name in names:
            _reseal_account(name, page, unit, vault)
        if len(names) == PAGE:
            page.next = f"{_ACCOUNTS}{names[-1]}"
            return page
        after = None
    attempts = unit.sealed_attempts(_read_mark(after), PAGE)
    for attempt in attempts:
        fresh = _again("upload_url", attempt.post, attempt.upload_url or "", page, vault)
        if fresh != attempt.upload_url:
            unit.save_attempt(replace(attempt, upload_url=fresh))
    if len(attempts) == PAGE:
        page.next = f"{attempts[-1].post}/{attempts[-1].number}"
    return page


def _reseal_links(page: Page, unit: Unit, vault: Vault) -> None:
    for link in unit.links():
        # One that cannot be read keeps no key: its person begins again.
        fresh = _again(VERIFIER, link.account, link.verifier or "", Page(), vault) or None
        if fresh != link.verifier:
            page.resealed += 1
            unit.save_link(replace(link, verifier=fresh))


def _reseal_account(name: AccountName, page: Page, unit: Unit, vault: Vault) -> None:
    account = unit.account(name, lock=True)
    if account is None:
        return
    changed = replace(
        account,
        access_token=_again("access_token", name, account.access_token, page, vault),
        refresh_token=_again("refresh_token", name, account.refresh_token, page, vault),
    )
    if changed != account:
        unit.save_account(changed)


def _again(purpose: str, owner: str, sealed: str, page: Page, vault: Vault) -> str:
    if not sealed or vault.is_newest(sealed):  # an account that was unlinked has none
        return sealed
    fresh = under_newest_key(vault, purpose, owner, sealed)
    if fresh == sealed:
        page.unreadable += 1
    else:
        page.resealed += 1
    return fresh


def _read_mark(mark: str | None) -> tuple[PostId, int] | None:
    if mark is None:
        return None
    post, _, number = mark.rpartition("/")
    if not post or not number.isdecimal():
        raise Rejected(Code.BAD_FIELD, "after is the `next` of the page before", field="args.after")
    return PostId(post), int(number)
