"""Records -> sinks: batch, call, settle, retry, dead-letter; one worker a route."""

from connector.delivery.batch import Route
from connector.delivery.blame import Retry
from connector.delivery.worker import Delivered, RouteWorker, load_libraries

__all__ = ["Delivered", "Retry", "Route", "RouteWorker", "load_libraries"]
