"""Who is let in: a bearer token that is signed, not expired and not taken back."""

import json
from collections.abc import Sequence

from daemon.domain.access import Claims
from daemon.domain.errors import Code, Rejected
from daemon.domain.events import EventType
from daemon.ports import Bus, Clock, Gate, Unit

REFUSAL = "a valid bearer token is needed"
_PREFIX = "dev.tokd."
_ABOUT_TOKENS = {f"{_PREFIX}{kind.value}" for kind in (EventType.TOKEN_ISSUED, EventType.TOKEN_REVOKED)}


class Guard:
    """Knows the tokens that hold: read once, then kept up by the events of their issue and their revocation."""

    def __init__(self, gate: Gate, bus: Bus, clock: Clock) -> None:
        self._gate = gate
        self._bus = bus
        self._clock = clock
        self._known: frozenset[str] = frozenset()

    def open(self) -> None:
        """Read the tokens. In the bus thread, which tells the events too: none can come in between."""
        self._bus.read(self._load)

    def note(self, payloads: Sequence[str]) -> None:
        """Take events; called in the bus thread right after the commit."""
        for payload in payloads:
            if f'"{_PREFIX}token.' not in payload:
                continue
            event = json.loads(payload)
            if event["type"] in _ABOUT_TOKENS:
                token = {event["data"]["token"]}
                is_new = event["type"].endswith(EventType.TOKEN_ISSUED.value)
                self._known = self._known | token if is_new else self._known - token

    def check(self, headers: Sequence[str]) -> Claims:
        """Return who calls, by the Authorization headers. Raises Rejected(unauthorized), always the same."""
        if len(headers) == 1:
            scheme, _, text = headers[0].partition(" ")
            if scheme.lower() == "bearer":
                claims = self._gate.check(text.strip(), self._clock.now())
                if self.holds(claims):
                    return claims
        raise Rejected(Code.UNAUTHORIZED, REFUSAL)

    def holds(self, claims: Claims) -> bool:
        """Tell whether a token that was good when its caller came still is."""
        is_known = claims.token_id is None or claims.token_id in self._known
        return is_known and self._clock.now() < claims.expires_at

    def _load(self, unit: Unit) -> None:
        now = self._clock.now()
        self._known = frozenset(token.id for token in unit.tokens() if token.holds(now))
