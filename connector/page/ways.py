"""Every path of the page. A new one has a row in the table of tests/page/test_ways.py, or that test fails."""

from __future__ import annotations

from typing import Final

from connector.page import affiliates
from connector.page.asking import Answer, Ask, Way
from connector.page.today import today


def _door(_: Ask) -> Answer:
    raise AssertionError("the site itself signs people in")


def _appearance(ask: Ask) -> Answer:
    return Answer(to="/", values={"theme": ask.form.get("theme", "")})


def _logout(_: Ask) -> Answer:
    return Answer(to="/login", done="signed out")


WAYS: Final = (
    Way("GET", "/login", _door, "anyone"),
    Way("POST", "/login", _door, "anyone"),
    Way("POST", "/logout", _logout),
    Way("POST", "/appearance", _appearance),
    Way("GET", "/", today),
    Way("GET", "/affiliates", affiliates.affiliates),
    Way("GET", "/affiliates/{record_id}", affiliates.affiliate),
    Way("POST", "/affiliates/{record_id}/again", affiliates.write_again, "change"),
    Way("POST", "/affiliates/{record_id}/forget", affiliates.forget_one, "change"),
)
