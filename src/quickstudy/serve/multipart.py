"""Forms: the parts of a multipart body that is already in memory."""

from __future__ import annotations

from typing import NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from quickstudy.serve.refusals import RefusedError, invalid, too_large

__all__ = ["Part", "parts_of"]

HEADS = 16
"""Headers that a part may have."""


class Part(NamedTuple):
    """One field of a form."""

    name: str
    is_file: bool
    """Whether it came with the name of a file."""
    content: bytes

    @property
    def text(self) -> str:
        """A field that is no file, as text.

        Raises:
            RefusedError: it is not UTF-8.
        """
        return _utf8(self.content, f"the field {self.name[:60]!r}")


class _Parts:
    """What the parser tells, collected."""

    def __init__(self, most: int) -> None:
        self.found: list[Part] = []
        self._most = most
        self._headers: dict[bytes, bytes] = {}
        self._field, self._value, self._content = bytearray(), bytearray(), bytearray()

    def begin(self) -> None:
        self._headers, self._content = {}, bytearray()

    def field(self, data: bytes, start: int, end: int) -> None:
        self._field += data[start:end]

    def value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def header(self) -> None:
        if len(self._headers) >= HEADS:
            raise invalid(f"a part of the form has more than {HEADS} headers. Send its Content-Disposition alone.")
        self._headers[bytes(self._field).lower()] = bytes(self._value)
        self._field, self._value = bytearray(), bytearray()

    def content(self, data: bytes, start: int, end: int) -> None:
        self._content += data[start:end]

    def end(self) -> None:
        if len(self.found) >= self._most:
            raise too_large(f"the form has more than {self._most} parts, which is what this server takes at once.")
        kind, options = _options(self._headers.get(b"content-disposition", b""))
        if kind != b"form-data" or b"name" not in options:
            raise invalid("a part of the form has no name. Send each with Content-Disposition: form-data; name=...")
        name = _utf8(options[b"name"], "the name of a field")
        self.found.append(Part(name, b"filename" in options, bytes(self._content)))


def parts_of(content_type: str, body: bytes, most: int) -> list[Part]:
    """The parts of a multipart body, in their order.

    Args:
        content_type: The header, which names the boundary.
        body: All of it.
        most: How many parts there may be.

    Raises:
        RefusedError: it is not such a body, it is not whole, or it has too many parts.
    """
    boundary = _options(content_type)[1].get(b"boundary")
    if not boundary or len(boundary) > 200:
        raise invalid("the form's Content-Type names no boundary. Let the client's own library write that header.")
    parts = _Parts(most)
    whole = False

    def ended() -> None:
        nonlocal whole
        whole = True

    parser = MultipartParser(
        boundary,
        {
            "on_part_begin": parts.begin,
            "on_header_field": parts.field,
            "on_header_value": parts.value,
            "on_header_end": parts.header,
            "on_part_data": parts.content,
            "on_part_end": parts.end,
            "on_end": ended,
        },
    )
    try:
        parser.write(body)
        parser.finalize()
    except FormParserError:
        whole = False
    if not whole:
        raise RefusedError(400, "invalid_form", "the form is damaged or not whole. Send it again.")
    return parts.found


def _options(header: str | bytes) -> tuple[bytes, dict[bytes, bytes]]:
    try:
        return parse_options_header(header)
    except (ValueError, LookupError, TypeError, IndexError):  # it decodes names in whatever encoding they claim
        raise RefusedError(400, "invalid_form", "a header of the form cannot be read. Send names in UTF-8.") from None


def _utf8(content: bytes, what: str) -> str:
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise invalid(f"{what} is not UTF-8. Send text in UTF-8.") from None
