"""Secrets on their way into the ledger: sealed under the newest key, though a worker sealed them before a rotation."""

from daemon.domain.errors import AdapterFailed
from daemon.ports import Vault


def under_newest_key(vault: Vault, purpose: str, owner: str, sealed: str) -> str:
    """Return the secret under the newest key; as it is where it is already, or where no key opens it.

    A worker may have sealed it before `keys/reseal` went through the rows, and its report may come after: stored
    as it came, it would need a key that `tokd keys prune` has found to be needed by nothing.
    """
    if not sealed or vault.is_newest(sealed):
        return sealed
    try:
        return vault.seal(purpose, owner, vault.open(purpose, owner, sealed))
    except AdapterFailed:
        return sealed
