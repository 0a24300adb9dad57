"""Where things may be sent, and how the place is named. What ``why_not`` says is tried in test_alerts.py."""

from __future__ import annotations

import pytest

from connector.core.outbound import host_of


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://api.example.com/v1", "api.example.com"),
        ("http://127.0.0.1:8080", "127.0.0.1:8080"),
        ("https://ada:s3cret@proxy.example.com:8443/x?key=s3cret", "proxy.example.com:8443"),
        ("https://[::1]:9/", "[::1]:9"),
        ("", ""),
    ],
)
def test_a_place_is_named_by_its_host_and_by_nothing_that_is_secret(url: str, host: str) -> None:
    assert host_of(url) == host
