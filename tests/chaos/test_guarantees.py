"""docs/guarantees.md says what ``python -m tests.chaos`` last came to, all of it, and nothing else."""

from __future__ import annotations

import json

from tests.chaos.__main__ import campaigns, document, rendered, results


def test_the_documents_figures_are_the_last_campaigns() -> None:
    figures = json.loads(results.read_text(encoding="utf-8"))
    assert figures.keys() == campaigns.keys(), "a campaign was never run"
    text = document.read_text(encoding="utf-8")
    assert rendered(text, {}) != text
    assert rendered(text, figures) == text, "run python -m tests.chaos"
