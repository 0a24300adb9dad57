"""Commands for people who work on the connector; nothing of this is shipped."""
