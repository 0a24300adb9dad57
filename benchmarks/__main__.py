"""``python -m benchmarks NAME``: one figure of the documents, measured again."""

from __future__ import annotations

import importlib
import sys

from benchmarks.document import order

names = (*order, "document")


def main() -> int:
    if len(sys.argv) < 2 or sys.argv[1] not in names:
        print(f"usage: python -m benchmarks {{{','.join(names)}}} [--help]", file=sys.stderr)  # noqa: T201
        return 2
    importlib.import_module(f"benchmarks.{sys.argv[1]}").main(sys.argv[2:])
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
