"""Traces of lengths alone: Azure's (arrival and tokens) and Mooncake's (arrival, tokens and ids of prefix blocks).

They hold no text and no model, so each call is a trace of its own and has no cost.
"""

from __future__ import annotations

import msgspec

from trimtab.errors import FormatError
from trimtab.money import Usage
from trimtab.store.formats.drafting import Draft, taken, time_ns
from trimtab.store.formats.reading import Format, Reader, Reading, Taken


class _Azure(msgspec.Struct):
    """A row of AzurePublicDataset's LLM inference traces, 2023 and 2024."""

    TIMESTAMP: str
    ContextTokens: int
    GeneratedTokens: int


class _Mooncake(msgspec.Struct):
    """A line of Mooncake's traces: milliseconds since the beginning, tokens, and an id for each 512 of the input."""

    timestamp: float
    input_length: int
    output_length: int
    hash_ids: msgspec.Raw


_AZURE = msgspec.json.Decoder(_Azure, strict=False)
_MOONCAKE = msgspec.json.Decoder(_Mooncake)
_IDS = msgspec.json.Decoder(list[int])


def _azure(reading: Reading) -> Reader:
    def read(text: bytes, number: int) -> list[Taken]:
        row = _AZURE.decode(text)
        draft = Draft(
            source="azure",
            text=text,
            number=number,
            started_ns=time_ns(row.TIMESTAMP),
            workflow=reading.stem,
            usage=Usage(input_tokens=row.ContextTokens, output_tokens=row.GeneratedTokens),
        )
        return [taken(draft, reading)]

    return read


def _mooncake(reading: Reading) -> Reader:
    def read(text: bytes, number: int) -> list[Taken]:
        row = _MOONCAKE.decode(text)
        _IDS.decode(row.hash_ids)
        if not 0 <= row.timestamp < 1e12:
            raise FormatError("the timestamp is out of range")
        draft = Draft(
            source="mooncake",
            text=text,
            number=number,
            # The times are told from the beginning of the trace, which no one knows.
            started_ns=int(row.timestamp * 10**6),
            tags={"times": "since the trace's beginning"},
            workflow=reading.stem,
            usage=Usage(input_tokens=row.input_length, output_tokens=row.output_length),
            request={"hash_ids": row.hash_ids},
        )
        return [taken(draft, reading)]

    return read


AZURE = Format("azure", lambda names: {"ContextTokens", "GeneratedTokens"} <= names, _azure)
MOONCAKE = Format("mooncake", lambda names: {"hash_ids", "input_length"} <= names, _mooncake)
