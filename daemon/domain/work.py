"""Orders to the workers: long work that the bus starts after its commit."""

from dataclasses import dataclass

from daemon.domain.ids import AccountName, PostId


@dataclass(frozen=True, slots=True)
class InspectMedia:
    """Check a file at intake, for the stored command `command`."""

    command: int
    name: str
    platform: str


@dataclass(frozen=True, slots=True)
class Deliver:
    """Drive a claimed post to the platform; `resume` where an upload was interrupted."""

    post: PostId
    fence: int
    resume: bool = False


@dataclass(frozen=True, slots=True)
class Follow:
    """Read the status of a post once."""

    post: PostId
    fence: int


@dataclass(frozen=True, slots=True)
class Withdraw:
    """Ask the platform to stop a post that it is still fetching, for the stored command `command`."""

    command: int
    post: PostId


@dataclass(frozen=True, slots=True)
class RefreshAccount:
    """Renew the tokens ahead of time, and read what the creator may do."""

    account: AccountName


Work = InspectMedia | Deliver | Follow | Withdraw | RefreshAccount
