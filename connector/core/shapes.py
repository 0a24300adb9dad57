"""Opening a source's bodies by what its bodies look like: the quick way to what ``open_body`` gives. Knows no platform.

Platforms send bodies that look alike. What was seen in some is kept as a *shape*: the keys of every object in their
order, and whether texts, fractions, objects or lists stood under them, made into classes that msgspec fills and writes
faster than dicts.

Why that is safe: a body counts as opened only if the filled classes, written again, are the body, byte for byte (but
for four spellings of one character). What msgspec writes has no key twice, no blanks, and all digits of a number, and
the keys come in the body's order: so from this body the general way would write the same text. A shape has no place
for an object or a list that was not seen there: so the known places are all that can hold a secret, and nothing is
nested deeper than the shape. Whatever else comes, valid or not, goes the general way, which has the last word; what it
let pass, the shapes learn from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any, ClassVar, TypeGuard

import msgspec
from msgspec import UNSET, UnsetType

from connector.core.errors import Unreadable
from connector.core.json_body import decode, open_body

_MOST_SHAPES = 4
_MOST_NESTING = 16
_MOST_PLACES = 500  # in one shape
_MOST_BYTES = 32_768  # of a body that is learnt from
_MOST_LESSONS = 64  # then one for a thousand bodies that fit no shape: ever new keys must cost neither memory nor time
_MOST_MISSES = 64  # in a row; then the shapes are tried on one body of so many

_SPELLINGS = ((b"\\u0026", b"&"), (b"\\u003c", b"<"), (b"\\u003e", b">"), (b"\\/", b"/"))  # as Rails, Go and PHP do
_encoder = msgspec.json.Encoder(decimal_format="number")
_encode, _encode_into = _encoder.encode, _encoder.encode_into


class Members(msgspec.Struct):
    """An object of a body that was opened by a shape. Its members are asked for as those of a dict are."""

    attributes: ClassVar[dict[str, str]] = {}
    """By key."""
    hidden: ClassVar[tuple[str, ...]] = ()
    """The attributes that hold secrets until they are taken away."""
    on_the_way: ClassVar[tuple[str, ...]] = ()
    """The attributes that lead to secrets."""

    def get(self, name: str) -> Any:
        attribute = self.attributes.get(name)
        if attribute is None:
            return None
        value = getattr(self, attribute)
        return None if value is UNSET else value

    def __contains__(self, name: str) -> bool:
        attribute = self.attributes.get(name)
        return attribute is not None and getattr(self, attribute) is not UNSET

    def __bool__(self) -> bool:
        return any(name in self for name in self.attributes)


Object = dict[str, Any] | Members


def is_object(value: object) -> TypeGuard[Object]:
    """Whether *value*, in a body that an ``Opener`` opened, is an object."""
    return type(value) is dict or isinstance(value, Members)


class Opener:
    """Opens the bodies of one source, and learns from them what they look like.

    Threads may share it: a shape never changes, and what one thread learns while another does is learnt the next time.

    Args:
        secrets: names of the keys that are left out of the text, at any depth.
    """

    def __init__(self, secrets: frozenset[str]) -> None:
        self._secrets = secrets
        self._shapes: tuple[_Shape, ...] = ()
        self._misses = 0
        self._misses_in_a_row = 0
        self._lessons = 0

    def open(self, raw: bytes) -> tuple[Object, bytes]:
        """What ``open_body`` gives, but that objects may be ``Members``.

        Raises:
            Unreadable: as ``open_body`` says.
        """
        if self._misses_in_a_row < _MOST_MISSES or self._misses % _MOST_MISSES == 0:
            shapes = self._shapes
            for shape in shapes:
                opened = shape.open(raw)
                if opened is not None:
                    self._misses_in_a_row = 0
                    if shape is not shapes[0]:  # the next body, too, may be one of these
                        self._shapes = (shape, *(other for other in shapes if other is not shape))
                    return opened
        value, text = open_body(raw, self._secrets)
        self._misses += 1
        self._misses_in_a_row += 1
        if len(raw) <= _MOST_BYTES and self._lessons < _MOST_LESSONS + self._misses // 1_000:
            self._lessons += 1
            self._learn(raw)
        return value, text

    def _learn(self, raw: bytes) -> None:
        """Make room for what is like *raw* in one of the shapes, or in a new one."""
        try:
            value = decode(raw)
        except Unreadable:  # it has a byte order mark
            return
        shapes = self._shapes
        for at, shape in enumerate(shapes):
            place = shape.place.with_room_for(value)
            if place is not None:
                if place != shape.place:  # if they are equal, something else than its shape is odd in the body
                    self._shapes = (_Shape(place, self._secrets), *shapes[:at], *shapes[at + 1 :])
                return
        place = _Place().with_room_for(value)
        if place is not None and len(shapes) < _MOST_SHAPES:
            self._shapes = (_Shape(place, self._secrets), *shapes)


class _Unlike(Exception):
    """A body has no room in a shape."""


@dataclass(frozen=True, slots=True)
class _Place:
    """What was seen at one place of bodies. Whole numbers, true, false and null may stand anywhere."""

    texts: bool = False
    fractions: bool = False
    fields: dict[str, _Place] | None = None
    items: _Place | None = None

    def with_room_for(self, body: object) -> _Place | None:
        """The same, grown; None where the keys of *body* come in another order, or it would be too large."""
        try:
            grown = self.grown(body)
        except _Unlike:
            return None
        return grown if grown.places() <= _MOST_PLACES else None

    def places(self) -> int:
        """How many there are, with those below."""
        below: list[_Place] = [*(self.fields or {}).values(), *([self.items] if self.items else ())]
        return 1 + sum(place.places() for place in below)

    def grown(self, value: object, nesting: int = 1) -> _Place:
        if nesting > _MOST_NESTING:
            raise _Unlike
        if type(value) is dict:
            return replace(self, fields=_joined(self.fields or {}, value, nesting))
        if type(value) is list:
            items = self.items or _Place()
            for item in value:
                items = items.grown(item, nesting + 1)
            return replace(self, items=items)
        texts, fractions = self.texts or type(value) is str, self.fractions or type(value) is Decimal
        if texts and fractions:  # msgspec can't tell them apart in one place
            raise _Unlike
        seen = (texts, fractions) == (self.texts, self.fractions)
        return self if seen else replace(self, texts=texts, fractions=fractions)


def _joined(fields: dict[str, _Place], value: dict[str, Any], nesting: int) -> dict[str, _Place]:
    """*fields* with those of *value*, each new one behind the one that it came behind."""
    if len(value) > _MOST_PLACES:
        raise _Unlike
    order = list(fields)
    at = 0
    for key in value:
        if key not in fields:
            if _encode(key) != b'"%s"' % key.encode():  # msgspec takes no name that needs escapes
                raise _Unlike
            order.insert(at, key)
        elif order.index(key) < at:
            raise _Unlike
        at = order.index(key, at) + 1
    nothing = _Place()
    return {
        key: fields.get(key, nothing).grown(value[key], nesting + 1) if key in value else fields[key] for key in order
    }


class _Shape:
    """A place, compiled."""

    def __init__(self, place: _Place, secrets: frozenset[str]) -> None:
        self.place = place
        kind, self._has_secrets = _compiled(place, secrets)
        self._decode = msgspec.json.Decoder(kind).decode

    def open(self, raw: bytes) -> tuple[Members, bytes] | None:
        """The object in *raw* and its text without secrets; None if this shape can't vouch for them."""
        text = bytearray(len(raw))  # as long as it will be: what grows while it is written takes longer
        try:
            value = self._decode(raw)
            _encode_into(value, text)
        except ValueError:  # such are msgspec's errors, too
            return None
        if text != raw:
            if b"\\" not in raw:
                return None
            # Were one of them only a part of another, \\\\/ say, then what is left of that would stand in no text.
            for spelling, character in _SPELLINGS:
                raw = raw.replace(spelling, character)
            if text != raw:
                return None
        if not isinstance(value, Members):
            return None
        if self._has_secrets and _hide(value):
            _encode_into(value, text)
        return value, bytes(text)


def _compiled(place: _Place, secrets: frozenset[str]) -> tuple[Any, bool]:
    """The type that msgspec fills, and whether secrets may be in it."""
    kind: Any = (int | Decimal if place.fractions else int | str) | bool | None
    has_secrets = False
    if place.items is not None:
        item, has_secrets = _compiled(place.items, secrets)
        kind |= list.__class_getitem__(item)
    if place.fields is not None:
        attributes = {key: f"f{number}" for number, key in enumerate(place.fields)}  # a key need not be an identifier
        fields = []
        on_the_way = []
        for key, attribute in attributes.items():
            inner, leads_to_secrets = _compiled(place.fields[key], secrets)
            fields.append((attribute, inner | UnsetType, UNSET))
            if leads_to_secrets and key not in secrets:
                on_the_way.append(attribute)
        hidden = tuple(attribute for key, attribute in attributes.items() if key in secrets)
        has_secrets |= bool(hidden or on_the_way)
        kind |= msgspec.defstruct(
            "Members",
            fields,
            bases=(Members,),
            namespace={"attributes": attributes, "hidden": hidden, "on_the_way": tuple(on_the_way)},
            rename={attribute: key for key, attribute in attributes.items()},
            forbid_unknown_fields=True,
            gc=False,  # what JSON makes has no circles
        )
    return kind, has_secrets


def _hide(value: object) -> bool:
    """Take the secrets away in and below *value*; whether there were any."""
    found = False
    if isinstance(value, Members):
        for attribute in value.hidden:
            if getattr(value, attribute) is not UNSET:
                setattr(value, attribute, UNSET)
                found = True
        for attribute in value.on_the_way:
            if _hide(getattr(value, attribute)):
                found = True
    elif type(value) is list:
        for item in value:
            if _hide(item):
                found = True
    return found
