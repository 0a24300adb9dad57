"""Google's limits, and how much of them is used."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Limits:
    """Google's limits, and how much of them one batch may use."""

    cell_characters: int = 50_000
    file_cells: int = 10_000_000
    batch_bytes: int = 1_900_000
    """2 MB a request is recommended."""
    tagged_rows: int = 2_000
    """Two characters each, of the 30,000 that a sheet's metadata may hold."""
    new_rows: int = 5_000
    """Planned at once; the rest is planned on the answer to the batch that adds them."""
    first_rows: int = 50
    """New records that take blank rows below the header while no row of ours is there."""
    whole_tab_cells: int = 100_000
    """Up to here a tab is read as it is; beyond, only header row and managed columns."""
