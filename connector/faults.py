"""What may be said in a log of an exception that nobody foresaw: its type and its place, never its message.

A message may quote anything, an affiliate's e-mail address for one.
"""

from __future__ import annotations

import traceback


def describe(error: BaseException) -> dict[str, str]:
    """``exception`` (type) and ``frames`` (file:line function, the innermost first) of *error*, as log fields."""
    frames = traceback.extract_tb(error.__traceback__)[-8:]
    return {
        "exception": type(error).__name__,
        "frames": " < ".join(f"{_short(frame.filename)}:{frame.lineno} {frame.name}" for frame in reversed(frames)),
    }


def _short(path: str) -> str:
    return "/".join(path.replace("\\", "/").rsplit("/", 2)[-2:])
