"""How a mapping changes while the program runs: which version runs, what an edit would do, apply, undo."""
