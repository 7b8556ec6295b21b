"""Datasets by name, and the text by which a command line means a source."""

from __future__ import annotations

from urllib.parse import unquote

from research.data.catalog.synthetic_table import SyntheticTable
from research.data.catalog.wisconsin import Wisconsin
from research.data.formats.csv import CSV
from research.data.source import Source
from research.errors import UserError, did_you_mean
from research.spec import apply_overrides, check

__all__ = ["SyntheticTable", "Wisconsin", "catalog", "parse_source"]


def catalog() -> dict[str, type[Source]]:
    """Every dataset that needs no file of the user's: its name and its class, which has a default for every field."""
    return {"wisconsin": Wisconsin, "synthetic_table": SyntheticTable}


def parse_source(text: str) -> Source:
    """The source that a text means.

    ``wisconsin``, ``synthetic_table?patients=500``, ``csv:heart.csv?target=num&positive=>0&categorical=cp,thal``:
    a name of the catalogue, or ``csv:`` and a path, then fields after ``?``, joined by ``&``. In values, ``%26``
    stands for ``&`` (percent-encoding, as in addresses).

    Raises:
        UserError: for an unknown name or field, with the closest ones, or a value of the wrong type or out of range.
    """
    head, _, fields = text.partition("?")
    name, colon, path = head.partition(":")
    known = catalog()
    if colon and name.strip().lower() == "csv":
        if not path.strip():
            raise UserError(f"{text!r} lacks the path of the file; write csv:PATH?target=COLUMN.")
        source: Source = CSV(path=path.strip())
    elif not colon and head.strip() in known:
        source = known[head.strip()]()
    else:
        hint = did_you_mean(name, [*known, "csv"])
        if not colon and head.strip().lower().endswith((".csv", ".data", ".tsv", ".txt")):
            hint = f" For a file write 'csv:{head.strip()}'."
        raise UserError(f"{text!r} is no known data.{hint} Known: {', '.join(known)}, csv:PATH.")
    source = apply_overrides(source, [unquote(part) for part in fields.split("&") if part])
    check(source)
    return source
