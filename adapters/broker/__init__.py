"""A mosquitto of our own, for `tokd run --with-broker`, and the access rules for anybody else's."""

from adapters.broker.acl import ANYBODY, Actors, acl_file, dynsec_commands
from adapters.broker.child import MosquittoChild

__all__ = ["ANYBODY", "Actors", "MosquittoChild", "acl_file", "dynsec_commands"]
