"""Everything durable: events, records, what is pending for each route."""

from connector.store.store import Store, open_store, worker_of

__all__ = ["Store", "open_store", "worker_of"]
