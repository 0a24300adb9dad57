"""What the documents say about speed, measured again with one command each: ``python -m benchmarks NAME``."""
