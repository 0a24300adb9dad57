"""Small local servers that behave as the far sides do, for the real clients to talk to."""
