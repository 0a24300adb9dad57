"""Every path of the page. A new one has a row in the table of tests/page/test_ways.py, or that test fails."""

from __future__ import annotations

from typing import Final

from connector.page import affiliates, entry, mappings, opening, problems, undoing, webhooks
from connector.page.asking import Way
from connector.page.today import today

WAYS: Final = (
    Way("GET", "/login", entry.form, "anyone"),
    Way("POST", "/login", entry.sign_in, "anyone"),
    Way("POST", "/logout", entry.sign_out),
    Way("POST", "/appearance", entry.appearance),
    Way("GET", "/", today),
    Way("GET", "/affiliates", affiliates.affiliates),
    Way("POST", "/affiliates/{record_id:path}/again", affiliates.write_again, "change"),
    Way("POST", "/affiliates/{record_id:path}/forget", affiliates.forget_one, "change"),
    Way("GET", "/affiliates/{record_id:path}/open", opening.open_record),
    Way("GET", "/affiliates/{record_id:path}", affiliates.affiliate),
    Way("GET", "/problems", problems.problems),
    Way("POST", "/problems/retry", problems.retry, "change"),
    Way("POST", "/problems/drop", problems.drop, "change"),
    Way("GET", "/webhooks", webhooks.webhooks),
    Way("POST", "/webhooks/address", webhooks.address, "change"),
    Way("POST", "/webhooks/sample", webhooks.sample, "change"),
    Way("GET", "/mappings", mappings.mappings),
    Way("GET", "/mappings/{route:path}/plan", mappings.plan),
    Way("POST", "/mappings/{route:path}/apply", mappings.apply, "change"),
    Way("GET", "/mappings/{route:path}/undo", undoing.undo_plan),
    Way("POST", "/mappings/{route:path}/undo", undoing.undo, "change"),
    Way("POST", "/mappings/{route:path}/resume", undoing.resume, "change"),
    Way("POST", "/mappings/{route:path}/try", mappings.try_it),
    Way("GET", "/mappings/{route:path}", mappings.mappings),
)
