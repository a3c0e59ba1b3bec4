"""The errors tokd knows: what a caller is told, and how a platform's refusal is classed."""

from dataclasses import dataclass
from enum import StrEnum


class Code(StrEnum):
    """The closed list of error codes on every wire (mqtt.md section 7.2, and those the issues add)."""

    BAD_JSON = "bad_json"
    TOO_LARGE = "too_large"
    UNKNOWN_COMMAND = "unknown_command"
    UNKNOWN_FIELD = "unknown_field"
    BAD_FIELD = "bad_field"
    BAD_TIME = "bad_time"
    ID_REQUIRED = "id_required"
    ID_CONFLICT = "id_conflict"
    RETAINED_COMMAND = "retained_command"
    STALE_BACKLOG = "stale_backlog"
    EXPIRED = "expired"
    FORBIDDEN = "forbidden"
    UNAUTHORIZED = "unauthorized"
    BUSY = "busy"
    RATE_LIMITED = "rate_limited"
    NOT_CONFIGURED = "not_configured"
    NO_SUCH_ACCOUNT = "no_such_account"
    NO_SUCH_LINK = "no_such_link"
    LINK_REFUSED = "link_refused"
    LINK_FAILED = "link_failed"
    NO_SUCH_POST = "no_such_post"
    NO_SUCH_TASK = "no_such_task"
    NO_SUCH_PROFILE = "no_such_profile"
    NOT_LOGGED_IN = "not_logged_in"
    CHALLENGE = "challenge"
    LOGIN_UNCERTAIN = "login_uncertain"
    NO_SUCH_SESSION = "no_such_session"
    NO_SUCH_TOKEN = "no_such_token"  # noqa: S105 - a code, no secret
    SESSION_BUSY = "session_busy"
    SESSION_LIMIT = "session_limit"
    SESSION_TIMEOUT = "session_timeout"
    USER_DATA_LOCKED = "user_data_locked"
    PROFILE_CHANGED = "profile_changed"
    KEYRING_UNREACHABLE = "keyring_unreachable"
    NO_BROWSER = "no_browser"
    NO_DISPLAY = "no_display"
    DRIVER_MISMATCH = "driver_mismatch"
    BROWSER_FAILED = "browser_failed"
    DISK_FULL = "disk_full"
    MEDIA_MISSING = "media_missing"
    MEDIA_OUTSIDE_ROOTS = "media_outside_roots"
    MEDIA_REJECTED = "media_rejected"
    UPLOAD_CONFLICT = "upload_conflict"
    TOO_LATE = "too_late"
    ALREADY_FINAL = "already_final"
    ALREADY_POSTED = "already_posted"
    SHUTTING_DOWN = "shutting_down"
    SAFE_MODE = "safe_mode"
    INTERNAL = "internal"


# The problem of a file that the machine has no descriptor, process or memory for just now: it passes.
OUT_OF_RESOURCES = "out_of_resources"


class TokdError(Exception):
    """The parent of every error of ours."""


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong, and how to mend it."""

    code: str
    message: str
    hint: str = ""

    def as_dict(self) -> dict[str, str]:
        """Return the problem as it stands in replies and events."""
        found = {"code": self.code, "message": self.message}
        return found | ({"hint": self.hint} if self.hint else {})


class Rejected(TokdError):
    """A command that is refused: nothing was done. Becomes a reply with status `rejected`."""

    def __init__(
        self,
        code: Code,
        message: str,
        *,
        field: str | None = None,
        retryable: bool = False,
        problems: tuple[Problem, ...] = (),
        retry_after_s: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.retryable = retryable
        self.problems = problems
        self.retry_after_s = retry_after_s

    def as_dict(self) -> dict[str, object]:
        """Return the `error` object of a reply."""
        body: dict[str, object] = {"code": self.code.value, "message": self.message}
        if self.field:
            body["field"] = self.field
        body["retryable"] = self.retryable
        if self.problems:
            body["problems"] = [problem.as_dict() for problem in self.problems]
        if self.retry_after_s is not None:
            body["retry_after_s"] = self.retry_after_s
        return body


class Fault(StrEnum):
    """The classes of posts-and-schedulers.md section 4.5: each has one documented behaviour."""

    TRANSIENT = "transient"  # provably not accepted: may be repeated before the point of no return
    RATE = "rate"  # wait for the window; costs no try
    AUTH = "auth"  # refresh once and repeat the same call; then the account needs a login
    SCOPE = "scope"  # held: the person must link the account again
    CAP = "cap"  # held until the platform's window opens
    BANNED = "banned"  # failed, and the account is paused
    AUDIT = "audit"  # failed, with advice about private accounts and inbox drafts
    CONTENT = "content"  # failed: this post can never be taken as it is
    REMOTE_INTERNAL = "remote_internal"  # the platform said FAILED and why, and asks for a new attempt
    REMOTE_PULL = "remote_pull"  # the platform could not fetch the media
    UNKNOWN_OUTCOME = "unknown_outcome"  # nobody can know whether the call was carried out
    UNKNOWN_CODE = "unknown_code"  # an error code nobody has documented
    CANCELLED = "cancelled"  # the platform confirms our own cancel
    UNREADABLE = "unreadable"  # held until what is stored of the account can be read again


class PlatformError(TokdError):
    """The platform refused, or could not be asked. Carries no URL, no token, no body beyond code and message."""

    def __init__(
        self,
        fault: Fault,
        code: str,
        message: str,
        *,
        status: int | None = None,
        retry_after_s: float | None = None,
        log_id: str | None = None,
        advice: str = "",
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.fault = fault
        self.code = code
        self.message = message
        self.status = status
        self.retry_after_s = retry_after_s
        self.log_id = log_id
        self.advice = advice


class UploadUrlDead(PlatformError):
    """The upload address is gone (403, 404): this upload can never be finished, so it can never publish."""


class AccountUnreadable(PlatformError):
    """What is stored of an account makes no sense, or no key opens its tokens: nothing can be asked for it."""

    def __init__(self, account: str, why: str, advice: str) -> None:
        super().__init__(
            Fault.UNREADABLE, "account_unreadable", f"account {account} cannot be read: {why}", advice=advice
        )


def unopened(account: str) -> AccountUnreadable:
    """Return the error of an account whose tokens no key opens."""
    return AccountUnreadable(
        account, "its tokens were sealed with a key that is not among the vault's keys",
        f"Bring back the old key, or link the account again with `tokd account link {account}`",
    )  # fmt: skip


class Interrupted(TokdError):
    """A long step was cut short because somebody asked for the end; nothing of it is left."""


class UploadConflict(TokdError):
    """An upload cannot go on here: somebody else is at it, or the next byte is another (`received`)."""

    def __init__(self, message: str, received: int | None = None) -> None:
        super().__init__(message)
        self.received = received


class StaleAttempt(TokdError):
    """Another attempt owns the post now (rule R8): whoever gets this must stop at once and write nothing."""


class IllegalMove(TokdError):
    """A state change that the table does not know."""


class StorageFailed(TokdError):
    """The database could not commit, and what is on disk is not known: stop and recover from disk (exit 70)."""


class StartRefused(TokdError):
    """The daemon must not start like this; the message says why and what to do (exit 78)."""


class AdapterFailed(TokdError):
    """An outside part (broker, scheduler, child process) failed in a way that its adapter cannot mend."""


class StorageFull(TokdError):
    """The disk is full or the database held by another: nothing was stored, and it may be tried again later."""
