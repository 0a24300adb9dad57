"""The pure heart: no files, network, clock, environment or logging."""
