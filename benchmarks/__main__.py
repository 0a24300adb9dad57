"""``python -m benchmarks NAME``: one figure of the documents, measured again.

``all`` measures all of them, in a quarter of an hour on a machine that does nothing else, and writes the document.
"""

from __future__ import annotations

import importlib
import sys

from benchmarks.document import order

names = (*order, "document")


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in (*names, "all"):
        print(f"usage: python -m benchmarks {{{','.join((*names, 'all'))}}} [--help]", file=sys.stderr)  # noqa: T201
        return 2
    for name in names if sys.argv[1] == "all" else sys.argv[1:2]:
        importlib.import_module(f"benchmarks.{name}").main(sys.argv[2:])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
