"""The settings of who may send what, [access], and of the record of it, [audit]."""

import re
from typing import Annotated

from pydantic import AfterValidator, Field

from config.sections import Number, Section, Whole

_PATTERN = re.compile(r"\*|(?:[a-z_]+|\*)\.(?:[a-z_]+|\*)")
_GRANT = re.compile(r"(?P<actor>(?:http:)?[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}):(?P<verbs>.*)")


def _check_pattern(value: str) -> str:
    if not _PATTERN.fullmatch(value):
        raise ValueError('must be a verb such as "post.schedule", "post.*", "*.list", or "*"')
    return value


def _check_grant(value: str) -> str:
    found = _GRANT.fullmatch(value)
    if found is None:
        raise ValueError('must be "ACTOR: VERB, VERB", such as "homeassistant: session.*, *.list"')
    for pattern in found["verbs"].split(","):
        _check_pattern(pattern.strip())
    return value


VerbPattern = Annotated[str, AfterValidator(_check_pattern)]
Grant = Annotated[str, AfterValidator(_check_grant)]


class AccessSettings(Section):
    """Who may send which commands, and how many. The command line on this machine may send everything."""

    allow: tuple[VerbPattern, ...] = Field(
        ("*",), max_length=100, description="What actors may send who have no grant of their own."
    )
    guarded: tuple[VerbPattern, ...] = Field(
        ("account.unlink", "profiles.promote", "system.audit", "system.drain"),
        max_length=100,
        description="What needs a grant of one's own when it comes through the broker.",
    )
    grants: tuple[Grant, ...] = Field(
        (),
        max_length=200,
        description='"ACTOR: VERBS", all that this actor may send; users of HTTP are "http:NAME".',
    )
    rate_per_s: Number = Field(
        100, gt=0, le=100_000, description="Commands a second that an actor may send over and over."
    )
    burst: Whole = Field(500, ge=1, le=1_000_000, description="Commands an actor may send at once.")
    open_max: Whole = Field(
        500, ge=1, le=100_000, description="Commands of an actor that may wait for their result."
    )

    @property
    def grants_by_actor(self) -> dict[str, tuple[str, ...]]:
        """Each actor's patterns; two grants for one actor add up."""
        found: dict[str, tuple[str, ...]] = {}
        for grant in self.grants:
            actor, _, verbs = grant.rpartition(":")
            found[actor] = found.get(actor, ()) + tuple(verb.strip() for verb in verbs.split(","))
        return found


class AuditSettings(Section):
    """The record of every order that changes something."""

    keep_days: Whole = Field(
        0,
        ge=0,
        le=36500,
        description="Days an entry is kept; what is left can still be verified after that. 0 is for ever.",
    )
