"""What a page is made of: tables, strips, cards, folds, each escaped and ready to be set. Knows no Audit."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trimtab.errors import require

if TYPE_CHECKING:
    import jinja2

# Text that is HTML already.
Markup = str
_FOLDER = Path(__file__).parent


class Column(msgspec.Struct, frozen=True):
    """`kind` is "", or one or more of text (left, may wrap), bar (a share, drawn) and extra (left out where narrow)."""

    name: str
    kind: str = ""


class Part(msgspec.Struct, frozen=True):
    """A piece of a strip, as long as its share."""

    name: str
    share: float
    value: str
    note: str = ""


class Tile(msgspec.Struct, frozen=True):
    name: str
    value: str
    notes: tuple[str, ...] = ()


class Section(msgspec.Struct, frozen=True):
    """A part of the page: `name` in the list of contents, `title` over it, `why` under that."""

    id: str
    name: str
    title: str
    why: str
    blocks: tuple[Markup, ...]


def page(title: str, words: dict[str, Any]) -> str:
    """The whole document."""
    style = safe((_FOLDER / "page.css").read_text(encoding="utf-8"))
    return _templates().get_template("page.html").render(title=title, style=style, **words)


def table(caption: str, columns: Sequence[Column], rows: Sequence[Sequence[object]]) -> Markup:
    """The first cell of a row names it; "" without rows."""
    return _block("table", caption, columns, rows) if rows else safe("")


def strip(label: str, parts: Sequence[Part]) -> Markup:
    return _block("strip", label, parts)


def card(title: str, body: Markup, caption: str = "") -> Markup:
    """ "" where there is no body."""
    return _block("card", title, safe(body), caption) if body else safe("")


def pair(*blocks: Markup) -> Markup:
    """Side by side where there is room."""
    held = [block for block in blocks if block]
    return _block("pair", held) if held else safe("")


def fold(
    title: str, much: str, under: str, facts: Sequence[tuple[str, object]], texts: Sequence[tuple[str, str]] = ()
) -> Markup:
    """Opens on a click or a key."""
    return _block("fold", title, much, under, facts, texts)


def badge(text: str, kind: str) -> Markup:
    return _block("badge", text, kind)


def marked(before: str, text: str, after: str) -> Markup:
    """A sentence with its main figure in colour."""
    return _block("marked", before, text, after)


def joined(*parts: Markup) -> Markup:
    return safe("".join(parts))


def facts(rows: Sequence[tuple[str, object]]) -> Markup:
    return _block("facts", rows) if rows else safe("")


def bullets(lines: Sequence[str]) -> Markup:
    return _block("bullets", lines) if lines else safe("")


def heading(text: str) -> Markup:
    return _block("heading", text)


def safe(text: str) -> Markup:
    """Marks HTML that was written here, so that it is set as it is."""
    require("audit", "jinja2")
    import markupsafe

    return markupsafe.Markup(text)


def _block(name: str, *values: object) -> Markup:
    made: Markup = getattr(_templates().get_template("blocks.html").module, name)(*values)
    return made


@cache
def _templates() -> jinja2.Environment:
    require("audit", "jinja2")
    import jinja2

    loader = jinja2.FileSystemLoader(_FOLDER)
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
