"""Everything durable: events, records, what is pending for each route."""

from connector.store.store import Store, is_postgres, open_store, worker_of

__all__ = ["Store", "is_postgres", "open_store", "worker_of"]
