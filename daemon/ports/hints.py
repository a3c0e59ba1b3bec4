"""What the HTTP adapter needs to take a platform's webhooks."""

from collections.abc import Sequence
from typing import Protocol

from daemon.domain.hints import Hint


class HintReader(Protocol):
    """Tells whether a webhook comes from the platform, and what it says."""

    def read_hint(self, signatures: Sequence[str], body: bytes) -> Hint:
        """Return what a webhook says; `signatures` are all its signature headers, `body` its bytes as they came.

        Raises Rejected: not_configured without the app's secret; unauthorized, the same for every reason, where
        it is not signed by the platform for this app just now; bad_json where it is, and cannot be read.
        """
