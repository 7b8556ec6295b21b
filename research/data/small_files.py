"""Many small text files of one folder or archive, read together as one table."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from jaxtyping import Int64

from research.errors import UserError


def small_files(place: Path, ending: str) -> dict[str, bytes]:
    """Content of every file with this ending, by its name without the ending, in the order of the names.

    Args:
        place: a folder, or a tar archive, compressed or not, which is read where it is.
        ending: of the file names, such as ``.txt``.

    Raises:
        UserError: for an archive that cannot be read, or a place without such files.
    """
    found: dict[str, bytes] = {}
    try:
        if place.is_dir():
            found = {path.stem: path.read_bytes() for path in place.iterdir() if path.name.endswith(ending)}
        else:
            with tarfile.open(place) as archive:
                for member in archive:
                    if member.isfile() and member.name.endswith(ending):
                        content = archive.extractfile(member)
                        assert content is not None
                        found[Path(member.name).stem] = content.read()
    except (tarfile.TarError, EOFError, OSError) as error:
        raise UserError(f"{place} cannot be read ({error}). Fetch it again.") from None
    if not found:
        raise UserError(f"{place} holds no files *{ending}. Check that it was downloaded completely.")
    return dict(sorted(found.items()))


def read_together(
    place: Path, files: Mapping[str, bytes], header: Sequence[str], separator: str, **options: Any
) -> tuple[pd.DataFrame, Int64[np.ndarray, " rows"]]:
    """One table of the rows of all files, and the number of the file that each row stands in.

    Args:
        place: where the files come from, for messages.
        files: their content by name.
        header: the names that the first line of each file must hold.
        separator: what stands between values.
        options: of `pandas.read_csv`.

    Raises:
        UserError: naming the file that has another first line, no rows, or what is no row.
    """
    expected = separator.join(header).encode()
    bodies: list[bytes] = []
    for name, text in files.items():
        first, _, body = text.partition(b"\n")
        if first.strip() != expected:
            raise UserError(
                f"{place}, file {name}: the first line is {_shown(first)}; {expected.decode()!r} is needed. Fetch it "
                f"again."
            )
        if not body.strip():
            raise UserError(f"{place}, file {name} has no rows. It may be truncated; fetch it again.")
        bodies.append(body if body.endswith(b"\n") else body + b"\n")
    read = {"sep": separator, "header": None, "names": list(header), "skip_blank_lines": False, **options}
    number = np.repeat(np.arange(len(bodies)), [body.count(b"\n") for body in bodies])
    try:
        frame = pd.read_csv(io.BytesIO(b"".join(bodies)), **read)
        if len(frame) == len(number):
            return frame, number
    except (ValueError, pd.errors.ParserError):
        pass
    for name, body in zip(files, bodies, strict=True):
        try:
            if len(pd.read_csv(io.BytesIO(body), **read)) != body.count(b"\n"):
                raise ValueError("a quotation mark is open")
        except (ValueError, pd.errors.ParserError) as error:
            raise UserError(
                f"{place}, file {name} cannot be read ({str(error).strip()}). It may be damaged; fetch it again."
            ) from None
    raise UserError(f"{place}: the files cannot be read together. Fetch them again.")


def _shown(line: bytes) -> str:
    text = line[:80].decode("utf-8", "replace").strip()
    return repr(text + ("..." if len(line) > 80 else ""))
