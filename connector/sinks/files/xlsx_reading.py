"""Reading a workbook: what openpyxl would lose of it, and a copy that openpyxl reads rightly and in little time."""

from __future__ import annotations

import io
import re
import zipfile
from typing import Any, NamedTuple

import openpyxl

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
)


_DRAWING = "xl/drawings/drawing"

_EATEN = b"x005F_"
_SHIELDED = b"x0x005F_05F_"  # openpyxl 3.1 drops each "x005F_" of a text it reads; of this, it leaves "x005F_"
# A text in its cell, as we and openpyxl write it, and the same text as a formula's result: openpyxl reads the first by
# way of four objects, and the second as it stands, so that the whole sheet takes half the time. Only for reading.
_INLINE_TEXT = re.compile(rb' t="inlineStr"><is><t(?: xml:space="preserve")?>([^<]+)</t></is></c>')
_RESULT_TEXT = rb' t="str"><v>\1</v></c>'

# openpyxl looks for the relation of each link among all of them, which takes half a minute for 20,000 links. So the
# copy that it reads has each address at its link, and the relations of links are left out.
_RELATION = re.compile(rb"<Relationship\b[^>]*?/>")
_LINK = re.compile(rb"<(?:\w+:)?hyperlink\b[^>]*>")
_IDENTIFIER = re.compile(rb"""\s(?:\w+:)?id=(?:"([^"]*)"|'([^']*)')""", re.IGNORECASE)
_TARGET = re.compile(rb"""\sTarget=(?:"([^"]*)"|'([^']*)')""")
_LOCATION = re.compile(rb"""\slocation=(?:"([^"]*)"|'([^']*)')""")
_ADDRESS_MARK = "connector-address:"


class Readable(NamedTuple):
    """A workbook before it is read.

    Args:
        lost: what openpyxl would lose of it; {} when it may be read and written.
        content: the workbook as openpyxl must read it to keep its texts, and not to take minutes.
        rich: whether it must be read as rich text, which takes longer.
    """

    lost: set[str]
    content: bytes
    rich: bool


def looked_through(content: bytes) -> Readable:
    """Look into a workbook's parts. Raises what zipfile raises."""
    with zipfile.ZipFile(io.BytesIO(content)) as parts:
        names = parts.namelist()
        lost = {words for name in names for part, words in _LOST_PARTS if name.startswith(part)}
        # LibreOffice leaves an empty drawing beside the notes of cells.
        drawings = [parts.read(name) for name in names if name.startswith(_DRAWING)]
        if any(b"Anchor" in drawing for drawing in drawings):
            lost.add("drawings")
        texts = [name for name in names if name.startswith(("xl/worksheets/sheet", "xl/sharedStrings"))]
        bodies = {name: parts.read(name) for name in texts}
        if any(b"<extLst" in body for body in bodies.values()):
            lost.add("sparklines, or newer kinds of validation or conditional formats")
        if lost:
            return Readable(lost, content, rich=False)
        rich = any(b"<r>" in body or b":r>" in body for body in bodies.values())
        if any(_EATEN in body for body in bodies.values()):
            rich = True
            bodies = {name: body.replace(_EATEN, _SHIELDED) for name, body in bodies.items()}
        else:
            bodies = {name: _INLINE_TEXT.sub(_RESULT_TEXT, body) for name, body in bodies.items()}
        for name in texts:
            relations = "/_rels/".join(name.rsplit("/", 1)) + ".rels"
            if relations in names and b"hyperlink" in bodies[name]:
                bodies[name], bodies[relations] = _with_addresses(bodies[name], parts.read(relations))
        readable = io.BytesIO()
        with zipfile.ZipFile(readable, "w") as copy:
            for name in names:
                copy.writestr(name, bodies[name] if name in bodies else parts.read(name))
        return Readable(lost, readable.getvalue(), rich)


def _with_addresses(sheet: bytes, relations: bytes) -> tuple[bytes, bytes]:
    """The tab with the addresses of its links in it, and its relations without them."""
    targets: dict[bytes, bytes] = {}

    def take(found: re.Match[bytes]) -> bytes:
        key, target = _IDENTIFIER.search(found[0]), _TARGET.search(found[0])
        if b"/hyperlink" not in found[0] or key is None or target is None:
            return found[0]
        targets[_value(key)] = _value(target)
        return b""

    def give(found: re.Match[bytes]) -> bytes:
        key, location = _IDENTIFIER.search(found[0]), _LOCATION.search(found[0])
        if key is None or _value(key) not in targets:
            return found[0]
        # Excel keeps what follows "#" apart from the rest.
        address = targets[_value(key)] + (b"#" + _value(location) if location else b"")
        place = b' location="' + _ADDRESS_MARK.encode() + address.replace(b'"', b"&quot;") + b'"'
        return _IDENTIFIER.sub(lambda _: place, _LOCATION.sub(b"", found[0]))

    relations = _RELATION.sub(take, relations)
    return _LINK.sub(give, sheet), relations


def _value(attribute: re.Match[bytes]) -> bytes:
    return bytes(attribute[1] if attribute[1] is not None else attribute[2])


def read(readable: Readable) -> Any:
    """The workbook of openpyxl. Raises what openpyxl raises."""
    book = openpyxl.load_workbook(io.BytesIO(readable.content), rich_text=readable.rich)
    for sheet in book.worksheets:
        for cells in sheet.iter_rows():
            for cell in cells:
                link = cell.hyperlink
                if link is not None and (link.location or "").startswith(_ADDRESS_MARK):
                    link.target, link.location = link.location.removeprefix(_ADDRESS_MARK), None
    return book
