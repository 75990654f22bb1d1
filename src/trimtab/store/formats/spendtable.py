"""LiteLLM's table in its own Postgres: each row as the JSON text that `formats.litellm` reads."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from trimtab.errors import FormatError, MissingExtra
from trimtab.store.formats import litellm
from trimtab.store.formats.reading import Piece, Reading, Taken, taken

if TYPE_CHECKING:
    import psycopg

_TABLE = "LiteLLM_SpendLogs"
# Rows with bodies are a few kB: so many are a few MB in memory.
_ROWS = 1_000
_QUERY = f'SELECT row_to_json(t)::text FROM "{_TABLE}" AS t ORDER BY t."startTime"'
_PASSWORD = re.compile(r"//[^@/]*@")


def calls(address: str, reading: Reading, progress: Callable[[int], None]) -> Iterator[Taken]:
    """The calls of the table, oldest first, through a cursor on the server's side; `progress` gets the rows read.

    FormatError where the database or its table cannot be read, MissingExtra without the driver."""
    try:
        import psycopg
    except ImportError as error:
        raise MissingExtra("logs", "psycopg") from error
    reader = litellm.FORMAT.reader(reading)
    try:
        with psycopg.connect(address, autocommit=False, options="-c default_transaction_read_only=on") as connection:
            # What a time without a zone means is what LiteLLM writes: UTC.
            connection.execute("SET TIME ZONE 'UTC'")
            for number, text in enumerate(_rows(connection), 1):
                yield from taken(Piece(f"row {number}", number, text, number), reader, reading.report)
                progress(number)
    except psycopg.Error as error:
        said = str(error).strip().partition("\n")[0]
        place = _PASSWORD.sub("//", address).partition("?")[0]
        raise FormatError(
            f'cannot read "{_TABLE}" at {place}: {_PASSWORD.sub("//", said)}; check the address'
        ) from None


def _rows(connection: psycopg.Connection[Any]) -> Iterator[bytes]:
    with connection.cursor(name="trimtab") as cursor:
        cursor.itersize = _ROWS
        cursor.execute(_QUERY)
        for (text,) in cursor:
            yield text.encode()
