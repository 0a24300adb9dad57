"""Everything durable: events, records, what is pending for each route."""

from connector.store.store import Store, worker_of
from connector.store.url import is_postgres

__all__ = ["Store", "is_postgres", "worker_of"]
