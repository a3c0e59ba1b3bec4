"""Access tokens for the workers: renewed ahead of time, one refresh at a time for an account (rule R6)."""

import threading
from collections import defaultdict
from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar

from daemon import failpoints
from daemon.domain.account import Account, Login, Tokens
from daemon.domain.errors import (
    AccountUnreadable,
    AdapterFailed,
    Fault,
    PlatformError,
    StaleAttempt,
    StorageFull,
    unopened,
)
from daemon.domain.ids import AccountName
from daemon.domain.reports import RefreshFailed, RefreshIntended, RefreshTurn, TokensRefreshed
from daemon.ports import Bus, Clock, PlatformUploader, Vault

T = TypeVar("T")
TURN_TRIES = 30
FULL_WAIT_S = 5.0


def open_token(vault: Vault, account: Account, purpose: str) -> str:
    """Return the account's `access_token` or `refresh_token` in clear. Raises AccountUnreadable."""
    sealed = account.access_token if purpose == "access_token" else account.refresh_token
    try:
        return vault.open(purpose, account.name, sealed)
    except AdapterFailed:
        raise unopened(account.name) from None


class TokenDesk:
    """Hands out access tokens. Every method may be called from any worker and may block on the network."""

    def __init__(
        self, bus: Bus, vault: Vault, clock: Clock, margin_s: float, stopping: threading.Event
    ) -> None:
        self._bus = bus
        self._vault = vault
        self._clock = clock
        self._margin = timedelta(seconds=margin_s)
        self._stopping = stopping
        self._locks: defaultdict[AccountName, threading.Lock] = defaultdict(threading.Lock)
        self._guard = threading.Lock()

    def call(self, platform: PlatformUploader, name: AccountName, action: Callable[[str], T]) -> T:
        """Run `action` with an access token; on a 401 refresh once and repeat this very call, never the step.

        Raises PlatformError; with Fault.AUTH where the account needs a login.
        """
        account = self._account(name)
        if account.access_expires_at <= self._clock.now() + self._margin:
            account = self._renewed_if_possible(platform, account)
        try:
            return action(self._open(account))
        except PlatformError as error:
            if error.fault is not Fault.AUTH:
                raise
        return action(self._open(self._refresh(platform, account)))

    def refresh_ahead(self, platform: PlatformUploader, name: AccountName) -> None:
        """Renew the tokens if they end within the margin."""
        account = self._account(name)
        if account.access_expires_at <= self._clock.now() + self._margin:
            self._refresh(platform, account)

    def _renewed_if_possible(self, platform: PlatformUploader, account: Account) -> Account:
        """Renew ahead of time; where that cannot be done just now, a token that still works is good enough."""
        try:
            return self._refresh(platform, account)
        except PlatformError as error:
            if (
                error.fault not in {Fault.TRANSIENT, Fault.UNREADABLE}
                or account.access_expires_at <= self._clock.now()
            ):
                raise
            return account

    def _account(self, name: AccountName) -> Account:
        account: Account | None = self._bus.read(lambda unit: unit.account(name))
        if account is None or account.login is not Login.OK:
            raise PlatformError(Fault.AUTH, "needs_login", f"account {name} must be linked again")
        return account

    def _open(self, account: Account) -> str:
        return open_token(self._vault, account, "access_token")

    def _refresh(self, platform: PlatformUploader, known: Account) -> Account:
        with self._guard:
            lock = self._locks[known.name]
        with lock:
            for _ in range(TURN_TRIES):
                turn: RefreshTurn = self._bus.ask(
                    RefreshIntended(known.name, self._bus.node, known.token_version)
                )
                if turn.may_refresh and turn.account is not None:
                    return self._refresh_now(platform, turn.account)
                if turn.account is None or turn.account.login is not Login.OK:
                    raise PlatformError(
                        Fault.AUTH, "needs_login", f"account {known.name} must be linked again"
                    )
                if turn.account.token_version != known.token_version:
                    return turn.account  # somebody else was faster
                self._stopping.wait(1)
        raise PlatformError(
            Fault.TRANSIENT, "refresh_busy", f"another node is refreshing account {known.name}"
        )

    def _refresh_now(self, platform: PlatformUploader, account: Account) -> Account:
        failpoints.hit("token.before_refresh")
        try:
            tokens = platform.refresh(open_token(self._vault, account, "refresh_token"))
        except AccountUnreadable as error:  # the turn is given back: whoever has the key may take it
            self._bus.ask(
                RefreshFailed(account.name, account.token_version, is_final=False, detail=str(error))
            )
            raise
        except PlatformError as error:
            is_final = error.fault in {Fault.AUTH, Fault.CONTENT, Fault.SCOPE}
            detail = (
                f"the tokens could not be renewed ({error.code}: {error.message}); link the account again with "
                f"`tokd account link {account.name}`"
            )
            self._bus.ask(RefreshFailed(account.name, account.token_version, is_final, detail))
            if is_final:
                raise PlatformError(Fault.AUTH, "needs_login", detail) from None
            raise PlatformError(Fault.TRANSIENT, error.code, f"token refresh: {error.message}") from None
        failpoints.hit("token.after_refresh")
        return self._keep(account, tokens)

    def _keep(self, account: Account, tokens: Tokens) -> Account:
        """Commit the new pair before anybody uses it: the old refresh token may be dead by now."""
        now = self._clock.now()
        try:
            kept = self._ask_surely(
                TokensRefreshed(
                    account=account.name,
                    token_version=account.token_version,
                    access_token=self._vault.seal("access_token", account.name, tokens.access),
                    refresh_token=self._vault.seal("refresh_token", account.name, tokens.refresh),
                    access_seconds=int((tokens.access_expires_at - now).total_seconds()),
                    refresh_seconds=int((tokens.refresh_expires_at - now).total_seconds()),
                    scopes=tokens.scopes,
                )
            )
        except StaleAttempt:
            return self._account(account.name)  # linked anew meanwhile: those tokens count
        failpoints.hit("token.after_commit")
        return kept

    def _ask_surely(self, report: TokensRefreshed) -> Account:
        """Go on trying while the disk is full: the pair cannot be had a second time."""
        while True:
            try:
                kept: Account = self._bus.ask(report)
            except StorageFull:
                if self._stopping.wait(FULL_WAIT_S):
                    raise
            else:
                return kept
