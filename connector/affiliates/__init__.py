"""One affiliate as a person asks about it: who is meant, what happened to it, and how to forget it."""
