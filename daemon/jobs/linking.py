"""Accounts on the network: a code for tokens, tokens given back, a question about an account."""

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from daemon import failpoints
from daemon.domain.account import Account, Tokens
from daemon.domain.account_commands import FinishLink
from daemon.domain.errors import AdapterFailed, Code, Fault, PlatformError, Rejected, StaleAttempt
from daemon.domain.linking import VERIFIER, PendingLink, is_same
from daemon.domain.post import Mode
from daemon.domain.reports import (
    AccountInspected,
    Answered,
    CodeExchanged,
    CreatorRead,
    ExchangeFailed,
    TokensGivenBack,
    UnlinkIntended,
)
from daemon.domain.wire import Request
from daemon.domain.work import (
    AccountWork,
    ExchangeCode,
    GiveBack,
    InspectAccount,
    RefreshAccount,
    UnlinkTokens,
)  # fmt: skip
from daemon.jobs.tools import PASSING, Tools
from daemon.ports import PlatformUploader

LOG = logging.getLogger("tokd.jobs")
NO_NEW_TRY_AFTER_S = 30.0
TURN_S = 1.0  # between two looks at whether another node is through


@dataclass(frozen=True, kw_only=True)
class AccountJobs:
    """Runs work about accounts in the calling worker thread."""

    tools: Tools
    platforms: Mapping[str, PlatformUploader]

    def run(self, work: AccountWork) -> None:
        """Do the work and report. Raises Stopped, and whatever is nobody's decision."""
        match work:
            case RefreshAccount():
                self._refresh(work)
            case ExchangeCode():
                self._exchange(work)
            case GiveBack():
                self._give_back(work)
            case UnlinkTokens():
                self._unlink(work)
            case InspectAccount():
                self._inspect(work)

    def report_death(self, work: AccountWork) -> None:
        """Leave nobody waiting for work that an error has ended; its details are in the log."""
        fault = PlatformError(Fault.UNKNOWN_OUTCOME, "internal", "tokd failed on this; its log says more")
        match work:
            case ExchangeCode(account, _, request) if request is not None:
                self.tools.bus.tell(ExchangeFailed(request, account, fault))
            case UnlinkTokens(command, account):
                self.tools.bus.tell(TokensGivenBack(command, account, fault.message))
            case InspectAccount(_, request) if request is not None:
                refusal = Rejected(Code.INTERNAL, fault.message, retryable=True)
                self.tools.bus.tell(Answered(request, {"status": "failed", "error": refusal.as_dict()}))

    # -- a code for tokens -------------------------------------------------------------------------------

    def _exchange(self, work: ExchangeCode) -> None:
        """Send the code once, whatever comes: it works once, and a second try could only confuse."""
        request = work.request
        if request is None or not isinstance(request.command, FinishLink) or request.command.code is None:
            return
        link: PendingLink | None = self.tools.bus.read(lambda unit: unit.link(work.account))
        if link is None or not is_same(link.state_hash, work.state_hash):
            fault = PlatformError(Fault.CONTENT, "replaced", "a newer link has taken its place")
            self.tools.ask_surely(ExchangeFailed(request, work.account, fault))
            return
        failpoints.hit("link.before_exchange")
        try:
            verifier = self._verifier(link)
            code = request.command.code.get_secret_value()
            tokens = self.platforms[link.platform].exchange(code, link.redirect_uri, verifier)
        except PlatformError as error:
            self.tools.ask_surely(ExchangeFailed(request, work.account, error))
            return
        except AdapterFailed as error:
            fault = PlatformError(Fault.CONTENT, "vault", str(error))
            self.tools.ask_surely(ExchangeFailed(request, work.account, fault))
            return
        failpoints.hit("link.after_exchange")
        self.tools.ask_surely(self._sealed(tokens, link, request))
        failpoints.hit("link.after_commit")

    def _verifier(self, link: PendingLink) -> str | None:
        if link.verifier is None:
            return None
        return self.tools.vault.open(VERIFIER, link.account, link.verifier)

    def _sealed(self, tokens: Tokens, link: PendingLink, request: Request) -> CodeExchanged:
        seal = self.tools.vault.seal
        return CodeExchanged(
            request=request,
            account=link.account,
            state_hash=link.state_hash,
            open_id=tokens.open_id,
            access_token=seal("access_token", link.account, tokens.access),
            refresh_token=seal("refresh_token", link.account, tokens.refresh),
            access_expires_at=tokens.access_expires_at,
            refresh_expires_at=tokens.refresh_expires_at,
            scopes=tokens.scopes,
        )

    def _give_back(self, work: GiveBack) -> None:
        platform = self.platforms[work.platform]
        token = self.tools.vault.open("access_token", work.account, work.access_token)
        error = self._patiently(lambda: platform.revoke(token))
        if error is not None:
            LOG.warning(
                "tokens that were not stored could not be given back (%s); they end by themselves", error
            )

    # -- tokens given back -------------------------------------------------------------------------------

    def _unlink(self, work: UnlinkTokens) -> None:
        """Take the turn, tell the platform, report. Where another node has it, wait until that one is through."""
        name = work.account
        while True:
            try:
                account: Account | None = self.tools.ask_surely(UnlinkIntended(name, self.tools.bus.node))
                if account is None:
                    report = TokensGivenBack(work.command, name, "there were no tokens any more")
                else:
                    error = self._revoke(account)
                    report = TokensGivenBack(work.command, name, error, account.token_version)
                self.tools.ask_surely(report)
            except StaleAttempt:
                if work.command == 0:
                    return
                self.tools.wait(TURN_S)
            else:
                return

    def _stay(self, account: Account) -> None:
        """Renew the turn before each call. Raises StaleAttempt: a late call would end the tokens of a newer link."""
        mine = UnlinkIntended(account.name, self.tools.bus.node, account.token_version)
        if self.tools.ask_surely(mine) is None:
            raise StaleAttempt(f"account {account.name} was unlinked by another node")

    def _revoke(self, account: Account) -> str | None:
        """Tell the platform; return why it does not know, None where it does."""
        platform = self.platforms[account.platform]
        if not platform.is_configured():
            return "TikTok was not told: no client key and secret are set"
        try:
            access = self.tools.vault.open("access_token", account.name, account.access_token)
            refresh = self.tools.vault.open("refresh_token", account.name, account.refresh_token)
        except AdapterFailed as error:
            return f"TikTok was not told: {error}"
        failpoints.hit("unlink.before_revoke")
        fault: PlatformError | None = None
        stay = partial(self._stay, account)
        if account.access_expires_at > self.tools.clock.now():
            fault = self._patiently(lambda: platform.revoke(access), stay)
            if fault is None or fault.fault in PASSING:
                failpoints.hit("unlink.after_revoke")
                return None if fault is None else f"TikTok could not be told ({fault.code}: {fault.message})"
        # A dead access token cannot be given back, but the refresh token gives a new one for just that.
        renewed: list[str] = []
        fault = self._patiently(lambda: renewed.append(platform.refresh(refresh).access), stay)
        if fault is None:
            fault = self._patiently(lambda: platform.revoke(renewed[-1]), stay)
        if fault is None:
            return None
        return (
            f"TikTok did not take the tokens back ({fault.code}: {fault.message}); they may have ended before"
        )

    def _patiently(
        self, call: Callable[[], object], before: Callable[[], None] = lambda: None
    ) -> PlatformError | None:
        """Call until it works or is refused; no new try after 30 seconds. Return the last error. Raises Stopped.

        `before` each call; what it raises ends this.
        """
        begun = self.tools.clock.monotonic()
        for delay in (*self.tools.policy.revoke_delays_s, None):
            before()
            try:
                call()
            except PlatformError as error:
                late = self.tools.clock.monotonic() - begun >= NO_NEW_TRY_AFTER_S
                if error.fault not in PASSING or delay is None or late:
                    return error
                self.tools.wait(delay)
            else:
                return None
        raise AssertionError("the last turn has returned")

    # -- looking -----------------------------------------------------------------------------------------

    def _refresh(self, work: RefreshAccount) -> None:
        name = work.account
        account = self.tools.bus.read(lambda unit: unit.account(name))
        if account is None:
            return
        platform = self.platforms[account.platform]
        if not platform.is_configured():
            return
        try:
            self.tools.tokens.refresh_ahead(platform, name)
            if platform.scope_for(Mode.DIRECT) not in account.scopes and not work.is_doubted:
                return
            self.tools.bus.ask(CreatorRead(name, self.tools.tokens.call(platform, name, platform.creator)))
        except PlatformError as error:
            LOG.warning("account %s could not be read: %s", name, error)

    def _inspect(self, work: InspectAccount) -> None:
        name, request = work.account, work.request
        account: Account | None = self.tools.bus.read(lambda unit: unit.account(name))
        if request is None:
            return
        creator, fault = None, None
        try:
            if account is None:
                raise StaleAttempt(f"there is no account {name} any more")
            platform = self.platforms[account.platform]
            self.tools.tokens.refresh_ahead(platform, name)
            scope = platform.scope_for(Mode.DIRECT)
            if scope not in account.scopes:
                raise PlatformError(
                    Fault.SCOPE,
                    "scope_missing",
                    f"without {scope} TikTok cannot be asked what the creator may do",
                )
            creator = self.tools.tokens.call(platform, name, platform.creator)
        except PlatformError as error:
            fault = error
        except StaleAttempt:
            pass
        linked_at = account.linked_at if account is not None else None
        self.tools.ask_surely(AccountInspected(request, name, creator, fault, linked_at))
