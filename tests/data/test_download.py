"""Downloads with the publisher's checksum, from a server on this machine."""

from __future__ import annotations

import functools
import hashlib
import threading
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from research.data.download import checksum, download
from research.errors import UserError

CONTENT = b"pictures " * 5000
MD5 = hashlib.md5(CONTENT).hexdigest()


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        """Nothing."""


@pytest.fixture
def downloads(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where downloads are kept."""
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RESEARCH_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "downloads"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ThreadingHTTPServer]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "small.npz").write_bytes(CONTENT)
    handler = functools.partial(_Quiet, directory=str(tmp_path / "served"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as found:
        threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield found
        found.shutdown()


def _url(server: ThreadingHTTPServer, name: str = "small.npz") -> str:
    return f"http://127.0.0.1:{server.server_address[1]}/{name}?download=1"


def test_a_download_is_checked_kept_and_not_repeated(server: ThreadingHTTPServer, downloads: Path) -> None:
    path = download(_url(server), MD5, "medmnist/small.npz")
    assert path == downloads / "medmnist" / "small.npz" and path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]
    server.shutdown()
    server.server_close()
    assert download(_url(server), MD5, "medmnist/small.npz") == path


def test_a_wrong_checksum_is_refused_and_nothing_kept(server: ThreadingHTTPServer, downloads: Path) -> None:
    wrong = hashlib.md5(b"").hexdigest()
    with pytest.raises(UserError, match=rf"{MD5}, its publisher states {wrong}.*RESEARCH_DATA_DIR/medmnist/small\.npz"):
        download(_url(server), wrong, "medmnist/small.npz")
    assert not [path for path in downloads.rglob("*") if path.is_file()]


def test_a_damaged_file_in_the_cache_is_fetched_again(server: ThreadingHTTPServer, downloads: Path) -> None:
    downloads.mkdir(parents=True)
    (downloads / "small.npz").write_bytes(CONTENT[:100])
    assert download(_url(server), MD5, "small.npz").read_bytes() == CONTENT


def test_what_is_absent_there_is_told_in_words(server: ThreadingHTTPServer, downloads: Path) -> None:
    with pytest.raises(UserError, match=r"could not be downloaded: .*404.*put it at \$RESEARCH_DATA_DIR/other\.npz"):
        download(_url(server, "other.npz"), MD5, "other.npz")
    assert not [path for path in downloads.rglob("*") if path.is_file()]


def test_without_a_connection_the_way_by_hand_is_told(server: ThreadingHTTPServer, downloads: Path) -> None:
    server.shutdown()
    server.server_close()
    with pytest.raises(UserError, match=r"127\.0\.0\.1 cannot be reached \(.*\)\. Fetch http.*put it at"):
        download(_url(server), MD5, "small.npz")


def test_checksums(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(CONTENT)
    assert checksum(tmp_path / "file", "md5") == MD5
    assert checksum(tmp_path / "file", "sha256") == hashlib.sha256(CONTENT).hexdigest()
