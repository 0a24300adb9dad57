"""Reading a workbook that openpyxl can write again without losing anything."""

from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Mapping
from typing import Any
from xml.sax.saxutils import quoteattr, unescape

import openpyxl
from openpyxl.packaging.relationship import get_dependents

_LOST_PARTS = (
    ("xl/charts/", "charts"),
    ("xl/media/", "pictures"),
    ("xl/vbaProject.bin", "macros"),
    ("xl/slicers/", "slicers"),
    ("xl/timelines/", "timelines"),
    ("xl/ctrlProps/", "buttons or form fields"),
    ("xl/activeX/", "buttons or form fields"),
    ("xl/embeddings/", "embedded objects"),
    ("xl/threadedComments/", "threaded comments"),
    ("xl/richData/", "linked data types or pictures in cells"),
    ("xl/connections.xml", "queries or connections to other data"),
)
_SPILLS = re.compile(rb'<(?:\w+:)?c\b[^>]*\scm="[^>]*><(?:\w+:)?f\b[^>]*\sref="[^":]*:')
"""A formula that fills as many cells as it needs; openpyxl would keep it to the cells that it fills now."""

_EATEN = b"x005F_"
_SHIELDED = b"x0x005F_05F_"  # openpyxl 3.1 drops each "x005F_" of a text it reads; of this, it leaves "x005F_"

# openpyxl looks for the relation of each link among all of them, which takes half a minute for 20,000 links. So the
# copy that it reads has each address at its link.
_LINK = re.compile(rb"<(?:\w+:)?hyperlink\b[^>]*>")
_LINK_ID = re.compile(rb'\s\w+:id="([^"]*)"')
_LOCATION = re.compile(rb'\slocation="([^"]*)"')
_ADDRESS_MARK = "connector-address:"


class WouldLose(Exception):
    """The workbook holds *things* that openpyxl does not carry."""

    def __init__(self, things: set[str]) -> None:
        super().__init__(things)
        self.things = things


def read(content: bytes) -> Any:
    """The workbook of openpyxl. Raises WouldLose, and what zipfile and openpyxl raise."""
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        bodies = {name: parts.read(name) for name in parts.namelist()}
        texts = [name for name in bodies if name.startswith(("xl/worksheets/sheet", "xl/sharedStrings"))]
        lost = {words for name in bodies for part, words in _LOST_PARTS if name.startswith(part)}
        # LibreOffice leaves an empty drawing beside the notes of cells.
        if any(name.startswith("xl/drawings/drawing") and b"Anchor" in body for name, body in bodies.items()):
            lost.add("drawings")
        if any(b"<extLst" in bodies[name] for name in texts):
            lost.add("sparklines, or newer kinds of validation or conditional formats")
        if any(_SPILLS.search(bodies[name]) for name in texts):
            lost.add("formulas that spill into further cells")
        if any(b"protectedRanges>" in bodies[name] for name in texts):
            lost.add("ranges that people may edit in a protected tab")
        if lost:
            raise WouldLose(lost)
        for name in texts:
            bodies[name] = bodies[name].replace(_EATEN, _SHIELDED)
            relations = "/_rels/".join(name.rsplit("/", 1)) + ".rels"
            if relations in bodies:
                targets = {relation.id: relation.target for relation in get_dependents(parts, relations)}
                bodies[name] = _with_addresses(bodies[name], targets)
    readable = io.BytesIO()
    with zipfile.ZipFile(readable, "w") as copy:
        for name, body in bodies.items():
            copy.writestr(name, body)
    book = openpyxl.load_workbook(readable, rich_text=True)
    for sheet in book.worksheets:
        for cells in sheet.iter_rows():
            for cell in cells:
                link = cell.hyperlink
                if link is not None and (link.location or "").startswith(_ADDRESS_MARK):
                    link.target, link.location = link.location.removeprefix(_ADDRESS_MARK), None
    return book


def _with_addresses(sheet: bytes, targets: Mapping[str, str]) -> bytes:
    """The tab with the addresses of its links in the place of their relations."""

    def give(found: re.Match[bytes]) -> bytes:
        link_id, location = _LINK_ID.search(found[0]), _LOCATION.search(found[0])
        if link_id is None or link_id[1].decode() not in targets:
            return found[0]
        address = targets[link_id[1].decode()]
        if location is not None:  # Excel keeps what follows "#" apart from the rest
            address += "#" + unescape(location[1].decode(), {"&quot;": '"'})
        place = b" location=" + quoteattr(_ADDRESS_MARK + address).encode()
        return _LOCATION.sub(b"", found[0]).replace(link_id[0], place)

    return _LINK.sub(give, sheet)
