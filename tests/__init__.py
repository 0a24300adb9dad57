"""The connector's tests, in the same tree as the connector."""
