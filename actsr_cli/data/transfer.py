"""Downloads one URL to one file over an unreliable network: resumes, retries with back-off, reports why it fails."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path

import httpx
from pydantic import BaseModel, ValidationError

from actsr_cli.data.retry import RetryPolicy
from actsr_cli.errors import DownloadError
from actsr_cli.files import disk_errors, write_record
from actsr_cli.version import __version__

OnProgress = Callable[[int, int | None], None]
"""Called with the bytes present and the total bytes (None if the server does not say)."""
OnNote = Callable[[str], None]
"""Called with a one-line message about an event."""

_TRY_AGAIN = frozenset({408, 425, 429, 500, 502, 503, 504})
_HTML = ("text/html", "application/xhtml+xml")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


class RefusalError(DownloadError):
    """The server refused; a retry will not help."""


class BrokenOffError(DownloadError):
    """All retries failed; the bytes received so far are kept."""


class _PassingError(Exception):
    """A temporary failure; `wait` is the number of seconds that the server asks to wait, or None."""

    def __init__(self, reason: str, wait: float | None = None) -> None:
        super().__init__(reason)
        self.wait = wait


class _Origin(BaseModel):
    """The origin of an unfinished file, stored in a small file beside it."""

    url: str
    validator: str | None
    total: int | None


class PartialFile:
    """An unfinished download: NAME.part, and NAME.part.json with the origin of its bytes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._record = path.with_name(path.name + ".json")

    def exists(self) -> bool:
        """Whether the file or its record is there."""
        return self.path.exists() or self._record.exists()

    @property
    def size(self) -> int:
        """Number of bytes present."""
        return self.path.stat().st_size if self.path.exists() else 0

    def origin(self, url: str) -> _Origin | None:
        """The origin of the bytes if they come from `url` and the download can be resumed, else None."""
        try:
            origin = _Origin.model_validate_json(self._record.read_bytes())
        except (FileNotFoundError, ValidationError):
            return None
        complete = origin.total is not None and origin.total == self.size
        resumable = self.size > 0 and (origin.validator is not None or complete)
        return origin if origin.url == url and resumable else None

    def start(self, origin: _Origin) -> None:
        """Empty the file and record `origin` as the origin of its bytes."""
        self.path.write_bytes(b"")
        write_record(self._record, origin)

    def discard(self) -> None:
        """Remove the file and its record."""
        self.path.unlink(missing_ok=True)
        self._record.unlink(missing_ok=True)


def download(
    url: str, partial: PartialFile, policy: RetryPolicy, on_progress: OnProgress | None, on_note: OnNote | None
) -> None:
    """Download `url` into `partial`, resuming an earlier try.

    Raises:
        RefusalError: the server refuses, or sends an HTML page.
        BrokenOffError: too many tries in a row failed; `partial` keeps the bytes received.
    """
    headers = {"User-Agent": f"actsr/{__version__}", "Accept-Encoding": "identity"}
    furthest = partial.size if partial.origin(url) else 0
    failures = 0
    with httpx.Client(headers=headers, timeout=policy.timeout, follow_redirects=True) as client:
        while True:
            try:
                _try_once(client, url, partial, on_progress or _ignore_progress)
                return
            except (_PassingError, httpx.TransportError, httpx.TooManyRedirects) as error:
                failures = 1 if partial.size > furthest else failures + 1
                furthest = max(furthest, partial.size)
                _wait_or_give_up(error, failures, policy, on_note, partial)


def _ignore_progress(done: int, total: int | None) -> None:
    """Do nothing."""


def _wait_or_give_up(
    error: Exception, failures: int, policy: RetryPolicy, on_note: OnNote | None, partial: PartialFile
) -> None:
    reason = str(error) or type(error).__name__
    if failures > policy.retries:
        kept = f"; {partial.size:,} bytes kept for the next try" if partial.size else ""
        raise BrokenOffError(f"{reason} (failures in a row: {failures}{kept})") from error
    asked = error.wait if isinstance(error, _PassingError) else None
    if asked is not None and asked > policy.longest_wait:
        raise BrokenOffError(f"{reason}; the server asks to wait {asked:.0f} s, which is too long") from error
    wait = policy.wait(failures) if asked is None else asked
    if on_note:
        on_note(f"{reason}; trying again in {wait:g} s")
    time.sleep(wait)


def _try_once(client: httpx.Client, url: str, partial: PartialFile, on_progress: OnProgress) -> None:
    """Send one request; return when the body is complete."""
    origin = partial.origin(url)
    if origin and origin.total == partial.size:
        return
    headers = {"Range": f"bytes={partial.size}-", "If-Range": origin.validator or ""} if origin else {}
    with client.stream("GET", url, headers=headers) as response:
        if response.status_code == 416 and origin:
            _check_nothing_is_left(response, partial)
            return
        _check_answer(response)
        if response.status_code == 206:
            total = _check_continuation(response, partial, origin)
        else:
            total = _start_over(response, url, partial)
        _append(response, partial, total, on_progress)
    if total is not None and partial.size > total:
        partial.discard()
        raise _PassingError("more bytes than announced; starting over")
    if total is not None and partial.size < total:
        raise _PassingError(f"short body: {partial.size:,} of {total:,} bytes")


def _check_nothing_is_left(response: httpx.Response, partial: PartialFile) -> None:
    """Check a 416 answer: accept it if the file is complete, else start over."""
    if response.headers.get("Content-Range") != f"bytes */{partial.size}":
        partial.discard()
        raise _PassingError("416 Range Not Satisfiable; starting over")


def _check_answer(response: httpx.Response) -> None:
    """Accept 200 and 206 with a body that is not an HTML page; raise for temporary and final errors."""
    status = f"{response.status_code} {response.reason_phrase}".strip()
    if response.status_code in _TRY_AGAIN:
        raise _PassingError(status, _retry_after(response.headers.get("Retry-After")))
    if response.status_code not in (200, 206):
        raise RefusalError(status)
    content_type = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if content_type in _HTML:
        raise RefusalError("an HTML page, not an archive")
    encoding = response.headers.get("Content-Encoding", "identity").strip().lower()
    if encoding != "identity":
        raise RefusalError(f"the body is encoded ({encoding}) although the request forbids it")


def _retry_after(value: str | None) -> float | None:
    """Seconds that the server asks to wait, from a number or an HTTP date; None if it gives neither."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value)
    try:
        then = parsedate_to_datetime(value)
    except ValueError:
        return None
    then = then if then.tzinfo else then.replace(tzinfo=UTC)
    return max(0.0, (then - datetime.now(UTC)).total_seconds())


def _check_continuation(response: httpx.Response, partial: PartialFile, origin: _Origin | None) -> int | None:
    """Check that a 206 answer continues exactly at the end of the file, and return the total size."""
    stated = response.headers.get("Content-Range", "")
    match = _CONTENT_RANGE.fullmatch(stated.strip())
    if origin is None or match is None or int(match[1]) != partial.size:
        if origin:
            partial.discard()
        raise _PassingError(f"206 with the wrong Content-Range '{stated}'; starting over")
    total = None if match[3] == "*" else int(match[3])
    entity = _validator(response)
    if (origin.total is not None and total not in (None, origin.total)) or entity not in (None, origin.validator):
        partial.discard()
        raise _PassingError("the file on the server changed; starting over")
    return origin.total if total is None else total


def _validator(response: httpx.Response) -> str | None:
    """The identifier of this version of the file: a strong ETag, else the modification date. Weak ETags are ignored."""
    etag: str | None = response.headers.get("ETag")
    if etag and not etag.startswith("W/"):
        return etag
    date: str | None = response.headers.get("Last-Modified")
    return date


def _start_over(response: httpx.Response, url: str, partial: PartialFile) -> int | None:
    length = response.headers.get("Content-Length")
    total = int(length) if length is not None else None
    partial.start(_Origin(url=url, validator=_validator(response), total=total))
    return total


def _append(response: httpx.Response, partial: PartialFile, total: int | None, on_progress: OnProgress) -> None:
    """Write bytes as they arrive, unbuffered, so that a killed process loses nothing."""
    done = partial.size
    on_progress(done, total)
    with disk_errors(partial.path, partial.path), partial.path.open("ab", buffering=0) as file:
        for chunk in response.iter_raw():
            rest = memoryview(chunk)
            while rest:  # an unbuffered file may take a part only
                rest = rest[file.write(rest) :]
            done += len(chunk)
            on_progress(done, total)
