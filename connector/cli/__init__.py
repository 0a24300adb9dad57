"""The command line: a file for each group of commands, ``main`` for the way in."""
