"""`download`: a file from the net, with the checksum that its publisher states."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import urllib.parse
import urllib.request
from pathlib import Path

from research.data.cache import REMEDY, cache_dir, is_full, unfinished
from research.errors import RunError, UserError

SECONDS = 10
"""How long to wait for a host to answer."""


def checksum(path: Path, kind: str) -> str:
    """Checksum of a file, hexadecimal; ``kind`` is ``md5`` or ``sha256``."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.new(kind, usedforsecurity=False)).hexdigest()


def download(url: str, md5: str, name: str) -> Path:
    """A file from the net, through TFDS's download manager; kept in ``downloads`` in `cache_dir`.

    Args:
        url: its address, http or https.
        md5: the checksum that its publisher states; TFDS itself knows SHA-256 only.
        name: its path below the folder of the data, such as ``medmnist/breastmnist.npz``.

    Raises:
        UserError: without a connection, or if the checksum is another one (the file is then removed); each says how
            to put the file in place by hand.
        RunError: if the disk fills up.
    """
    target = cache_dir() / "downloads" / name
    if target.is_file() and checksum(target, "md5") == md5:
        return target
    remedy = f"Fetch {url} in another way and put it at $RESEARCH_DATA_DIR/{name}."
    part = unfinished(target)
    try:
        _check_reachable(url)
        from research.data.tfds import fetch

        part.mkdir(parents=True)
        fetched = fetch(url, part)
        found = checksum(fetched, "md5")
        if found != md5:
            raise UserError(
                f"{url}: what was downloaded has the MD5 checksum {found}, its publisher states {md5}: it is damaged "
                f"or another file, and was removed. Run again, or: {remedy}"
            )
        os.replace(fetched, target)
    except UserError:
        raise
    except Exception as error:
        if is_full(error):
            raise RunError(f"{target.parent} is full; {url} could not be kept. {REMEDY}") from error
        raise UserError(f"{url} could not be downloaded: {str(error).rstrip('.')}. {remedy}") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target


def _check_reachable(url: str) -> None:
    """Fail at once without a network, where TFDS would try for minutes; a proxy is left to find the host."""
    address = urllib.parse.urlsplit(url)
    if address.scheme in urllib.request.getproxies():
        return
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        socket.create_connection((address.hostname or "", port), SECONDS).close()
    except OSError as error:
        raise ConnectionError(f"{address.hostname} cannot be reached ({error.strerror or error})") from error
