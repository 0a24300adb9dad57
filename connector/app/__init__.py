"""Config -> running program: threads, readiness, upkeep. The one room that knows every room but the server."""

from connector.app.awaiting import Awaiting
from connector.app.program import Program, drain, put_back_now
from connector.app.upkeep import ClockWatch, clock_is_trusted

__all__ = ["Awaiting", "ClockWatch", "Program", "clock_is_trusted", "drain", "put_back_now"]
