"""Has the browser thrown away cookies that it could not decrypt? Their number tells; nothing is decrypted."""

import contextlib
import sqlite3
from pathlib import Path
from urllib.parse import quote

from adapters.browser.clocks import now, pause
from daemon.domain.session import Workplace

_LOOK_EVERY_S = 0.1
_WRITTEN_WITHIN_S = 1.5
# A keyring's own keys have v11, those of the desktop's portal v12; v10 is the fixed one, which needs nobody.
_COUNT = (
    "SELECT count(*) FROM cookies WHERE substr(encrypted_value, 1, 1) = CAST('v' AS BLOB) "
    "AND substr(encrypted_value, 1, 3) <> CAST('v10' AS BLOB)"
)


class KeyringWatch:
    """Looks at the cookies of a profile whose cookies need a keyring."""

    def __init__(self, place: Workplace) -> None:
        self._place = place
        self._is_lost = False
        self._next = 0.0

    def is_lost(self) -> bool:
        """Tell whether all of them are gone."""
        if self._place.encryption.needs_keyring and not self._is_lost and now() >= self._next:
            self._next = now() + _LOOK_EVERY_S
            self._is_lost = self._count() == 0
        return self._is_lost

    def is_lost_at_last(self) -> bool:
        """Tell whether all of them are gone, and give the browser the time to write that down."""
        until = now() + _WRITTEN_WITHIN_S
        while self._place.encryption.needs_keyring and not self.is_lost() and now() < until:
            pause(_LOOK_EVERY_S)
        return self._is_lost

    def _count(self) -> int | None:
        """Return how many there are in all its profiles; None where that cannot be known just now."""
        total = None
        for path in Path(self._place.user_data_dir).glob("*/Cookies"):
            try:
                found = sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True, timeout=0.05)
                with contextlib.closing(found):
                    total = (total or 0) + int(found.execute(_COUNT).fetchone()[0])
            except sqlite3.Error:
                return None
        return total
