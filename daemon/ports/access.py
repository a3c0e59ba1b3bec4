"""What the core and the HTTP adapter need of tokens: making one, and reading one that a caller has sent."""

from datetime import datetime
from typing import Protocol

from daemon.domain.access import Claims


class Gate(Protocol):
    """Signed tokens. Knows nothing of revocation: that is the ledger's."""

    def issue(self, user: str, token_id: str, now: datetime, expires_at: datetime) -> str:
        """Return a token's text. Raises Rejected(not_configured) where tokens are another issuer's."""

    def check(self, text: str, now: datetime) -> Claims:
        """Return what a token says. Raises Rejected(unauthorized), the same for every reason."""
