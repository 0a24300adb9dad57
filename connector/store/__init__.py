"""Everything durable: events, records, what is pending for each route."""

from connector.store.store import Store, open_store, worker_of
from connector.store.url import is_postgres

__all__ = ["Store", "is_postgres", "open_store", "worker_of"]
