"""One file a platform; pure."""
