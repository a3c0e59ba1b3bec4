"""A vault that hides nothing but is as strict as the real one about what belongs to whom."""

import base64
import json

from daemon.domain.errors import AdapterFailed


class FakeVault:
    """Implements ports.Vault. `lose_key` makes every sealed value unreadable, `add_key` leaves all readable.

    `bring_back_key` puts the lost keys where `read_keys` finds them.
    """

    def __init__(self) -> None:
        self._generation = self._oldest = 0
        self._has_all = False
        self.readings = 0
        self.rotates_after = ""  # a purpose: just after the next such secret is sealed there is a new key

    def lose_key(self) -> None:
        self._generation += 1
        self._oldest = self._generation

    def bring_back_key(self) -> None:
        self._has_all = True

    def add_key(self) -> None:
        self._generation += 1

    def seal(self, purpose: str, owner: str, clear: str) -> str:
        text = json.dumps([self._generation, purpose, owner, clear])
        if purpose == self.rotates_after:
            self.rotates_after = ""
            self.add_key()
        return "sealed:" + base64.b64encode(text.encode()).decode()

    def open(self, purpose: str, owner: str, sealed: str) -> str:
        generation, *bound, clear = json.loads(base64.b64decode(sealed.removeprefix("sealed:")))
        if generation < self._oldest or bound != [purpose, owner]:
            raise AdapterFailed(f"a sealed value ({purpose}) could not be opened")
        return str(clear)

    def is_newest(self, sealed: str) -> bool:
        return bool(json.loads(base64.b64decode(sealed.removeprefix("sealed:")))[0] == self._generation)

    def read_keys(self) -> None:
        self.readings += 1
        if self._has_all:
            self._oldest, self._has_all = 0, False
