"""A mosquitto of our own, for `tokd run --with-broker`."""

from adapters.broker.child import MosquittoChild

__all__ = ["MosquittoChild"]
