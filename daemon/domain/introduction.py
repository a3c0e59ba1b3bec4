"""What another system on the broker is told about tokd, so that it can show it, and what it has been told before."""

from collections.abc import Mapping
from dataclasses import dataclass

from daemon.domain.ids import AccountName, NodeName, ProfileName


@dataclass(frozen=True, slots=True)
class AccountFacts:
    """One linked account; `profile` is the browser profile that its session is opened on."""

    name: AccountName
    profile: ProfileName


@dataclass(frozen=True, slots=True)
class Facts:
    """All that an introduction depends on: the same facts give the same bytes."""

    node: NodeName
    version: str
    accounts: tuple[AccountFacts, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What stands under one topic: the platform of each component by its key, and a digest of the message."""

    components: Mapping[str, str]
    digest: str


@dataclass(frozen=True, slots=True)
class Introduced:
    """What is to be published, in this order, and how the ledger changes; None: the topic is cleared."""

    messages: tuple[tuple[str, str], ...]
    told: Mapping[str, Told | None]
