"""Records -> sinks: one worker a route."""

from connector.delivery.worker import Delivered, Retry, Route, RouteWorker

__all__ = ["Delivered", "Retry", "Route", "RouteWorker"]
