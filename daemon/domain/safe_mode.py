"""Safe mode: why nothing may be done until a person has looked, and what that person is to do."""

from dataclasses import dataclass

from daemon.domain.errors import Code, Rejected

# What can be answered without a ledger: who is there, how it is, what it speaks.
BLIND_VERBS = frozenset({"system/ping", "system/health", "system/describe"})


@dataclass(frozen=True, slots=True)
class SafeMode:
    """Why nothing may be done until a person has looked, and what that person is to do.

    `is_blind`: the ledger is missing, damaged or behind what was acknowledged. It is not opened, so nothing is known of
    any post, and nothing may be answered as if it were.
    """

    reason: str
    todo: str
    is_blind: bool = False

    def refusal(self) -> Rejected:
        """Return what every order is answered, and in blindness every question about what the ledger knows."""
        what = "can neither do nor tell anything" if self.is_blind else "does nothing"
        return Rejected(
            Code.SAFE_MODE, f"tokd is in safe mode ({self.reason}) and {what}; {self.todo}", retryable=True
        )

    def as_alert(self) -> dict[str, str]:
        """Return the alert that stands retained on the broker until a start is a normal one again."""
        return {"alert": "safe_mode", "message": self.reason, "todo": self.todo}
