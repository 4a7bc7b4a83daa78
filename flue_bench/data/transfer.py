"""An HTTP client for servers that are not trusted: each request ends in time, in bytes, and tells strangers no secret.

A server can send one byte a second, in the headers too, redirect for ever, or list without end. So limits are kept
where bytes arrive, in the network stream below the HTTP protocol, and whatever is sent counts.
"""

from __future__ import annotations

import math
import re
import threading
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any

import httpcore2
import httpx2
from huggingface_hub import constants

from flue_bench.errors import HubError, address, quoted

TRIES = 3
"""Requests for the same bytes of the same file before giving up; a download that makes progress may continue."""
PATIENCE = 60.0
"""Seconds in which a file need not arrive at any speed, its headers included, and that one question may take."""
SLOWEST = 10_000
"""Bytes per second that a file must reach on average after that."""
LISTING_SECONDS = 300.0
"""Time limit of all answers of one exchange that are kept in memory: what a repository is, pages of its files."""
LISTING_BYTES = 2**25
"""Their size limit: some 100,000 files."""
READ_BYTES = 2**30
"""Size limit of one answer in memory while a data set is streamed: a part of a file."""
FILES_BYTES = 2**36
"""Size limit of all files of one exchange together, and of one whose size no server announced."""
REST_BYTES = 2**20
"""Size limit of what a server sends beside a file: headers, errors, redirections."""
LONGEST_WAIT = 60
"""Seconds that a server may ask a client to wait before the next try."""

BROKEN = (httpx2.HTTPError, httpx2.InvalidURL, UnicodeError)
"""What httpx2 raises for a request that breaks off, and for an address that a server names and that is none."""

_BUSY = (408, 429)
_here = threading.local()
"""``allowance`` and ``streams`` of the request that this thread makes."""


class Allowance:
    """The time and bytes that remain for a request, its redirections and repetitions included."""

    def __init__(
        self,
        what: str,
        *,
        seconds: float = math.inf,
        max_bytes: float = math.inf,
        rate: float = math.inf,
        all_files: Allowance | None = None,
    ) -> None:
        """Start with everything.

        Args:
            what: the address, for messages.
            seconds: the time limit.
            max_bytes: the size limit.
            rate: so many bytes extend the time limit by a second.
            all_files: what counts the same bytes together with others'.
        """
        self.what, self.seconds, self.max_bytes, self.rate, self.all_files = what, seconds, max_bytes, rate, all_files
        self.received = 0
        self._cap = self._granted = max_bytes
        self._spent, self._started = 0.0, time.monotonic()
        self._last = self._started

    def begin(self) -> None:
        """Start another request; the pause before it does not count."""
        self._spent += self._last - self._started
        self._started = self._last = time.monotonic()
        self._cap = self._granted = self.max_bytes

    def limit(self, number: float) -> None:
        """Allow only so many bytes more in the answer that has begun."""
        self._cap, self._granted = min((self.received + number, number), (self.max_bytes, self.max_bytes))

    def wait(self, timeout: float | None) -> float:
        """Return how many seconds the next bytes may take, at most ``timeout``. Raises HubError if none are left."""
        self._last = time.monotonic()
        left = self.seconds + self.received / self.rate - self._spent - (self._last - self._started)
        if left <= 0:
            slow = f" at less than {self.rate:,.0f} bytes a second" if self.rate < math.inf else ""
            raise HubError(
                f"{self.what} comes in too slowly: it took more than {self.seconds:g} seconds{slow}.\n"
                "Try later, or get it another way."
            )
        return left if timeout is None else min(timeout, left)

    def count(self, number: int) -> None:
        """Count bytes that arrived. Raises HubError if they are too many."""
        self._last = time.monotonic()
        self.received += number
        if self.received > self._cap:
            raise HubError(f"{self.what} sends more than {self._granted:,.0f} bytes: refused.")
        if self.all_files is not None:
            self.all_files.count(number)


class _Metered(httpcore2.NetworkStream):
    """A connection whose bytes and time are charged to the request that uses it."""

    def __init__(self, stream: httpcore2.NetworkStream) -> None:
        self._stream = stream
        self._allowance: Allowance = _here.allowance

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        allowance = self._allowance
        try:
            content = self._stream.read(max_bytes, allowance.wait(timeout))
        except httpcore2.ReadTimeout:
            allowance.wait(timeout)  # raises where the limit was ours
            raise
        allowance.count(len(content))
        return content

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        self._allowance = _here.allowance  # another thread may read the answer
        self._stream.write(buffer, self._allowance.wait(timeout))

    def close(self) -> None:
        self._stream.close()

    def start_tls(self, ssl_context: Any, server_hostname: str | None = None, timeout: float | None = None) -> _Metered:
        return _Metered(self._stream.start_tls(ssl_context, server_hostname, _here.allowance.wait(timeout)))

    def get_extra_info(self, info: str) -> Any:
        return self._stream.get_extra_info(info)


class _Backend(httpcore2.NetworkBackend):
    """Makes metered connections."""

    def __init__(self, backend: httpcore2.NetworkBackend) -> None:
        self._backend = backend

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> _Metered:
        timeout = _here.allowance.wait(timeout)
        return _Metered(self._backend.connect_tcp(host, port, timeout, local_address, socket_options))


class Client(httpx2.Client):
    """httpx2's client, with proxies of the environment, for the requests of one exchange with one server.

    A request that answers into memory shares one allowance with all others of the exchange; one that is streamed, or
    asks for headers alone, has its own, which its repetitions share. Where an exchange has no end, as when a data set
    is streamed, each request has its own.
    """

    def __init__(
        self,
        origin: str,
        hooks: Iterable[Any] = (),
        *,
        statuses: list[int] | None = None,
        max_bytes: float = FILES_BYTES,
        packed: bool = False,
        endless: bool = False,
    ) -> None:
        """Make a client.

        Args:
            origin: the address whose server may get credentials.
            hooks: what else to call with each request, first.
            statuses: where to add the HTTP statuses of the answers.
            max_bytes: the size limit of all streamed answers together.
            packed: a streamed answer may be labelled as compressed: it is read as it is stored.
            endless: the exchange goes on as long as the process, so requests are not added up.
        """
        super().__init__(
            follow_redirects=True,
            timeout=constants.HF_HUB_DOWNLOAD_TIMEOUT,
            event_hooks={"request": [*hooks, self._before], "response": [self._after]},
        )
        self._statuses = [] if statuses is None else statuses
        self._origin, self._packed, self._endless = httpx2.URL(origin), packed, endless
        self._tries: Counter[tuple[str, str, str | None]] = Counter()
        self._sizes: dict[str, int] = {}
        self._files: dict[tuple[str, str], Allowance] = {}
        self._answers = Allowance(address(origin), seconds=LISTING_SECONDS, max_bytes=LISTING_BYTES)
        self._all_files = Allowance(address(origin), max_bytes=max_bytes)
        transport: Any
        for transport in (self._transport, *self._mounts.values()):
            if transport is not None:  # None: no proxy for these addresses
                transport._pool._network_backend = _Backend(transport._pool._network_backend)

    def send(self, request: httpx2.Request, *, stream: bool = False, **kwargs: Any) -> httpx2.Response:
        """Send a request; see ``httpx2.Client.send``.

        Raises:
            HubError: it takes too long, is too large, or was tried too often.
        """
        _here.allowance = self._granted(request, stream)
        _here.streams = stream
        _here.allowance.begin()
        return super().send(request, stream=stream, **kwargs)

    def _granted(self, request: httpx2.Request, stream: bool) -> Allowance:
        url = str(request.url)
        if self._endless:
            most: float = math.inf if stream else READ_BYTES
            return Allowance(address(url), seconds=PATIENCE, max_bytes=most, rate=SLOWEST)
        if not stream and request.method != "HEAD":
            return self._answers
        key = request.method, url
        if key not in self._files:
            most = REST_BYTES
            if stream:
                most = TRIES * self._sizes[url] + REST_BYTES if url in self._sizes else math.inf
            self._files[key] = Allowance(
                address(url), seconds=PATIENCE, max_bytes=most, rate=SLOWEST, all_files=self._all_files
            )
        return self._files[key]

    def _before(self, request: httpx2.Request) -> None:
        """Bound each request, those that a redirection makes too, and keep credentials from other servers."""
        seconds = constants.HF_HUB_DOWNLOAD_TIMEOUT
        request.extensions["timeout"] = httpx2.Timeout(seconds).as_dict()
        request.headers["Accept-Encoding"] = "identity"  # so that nothing small becomes large, and sizes are the file's
        if not _same_server(self._origin, request.url):
            request.headers.pop("Authorization", None)
        self._tries[_same(request)] += not self._endless
        if self._tries[_same(request)] > TRIES:
            raise self._given_up(request)

    def _after(self, response: httpx2.Response) -> None:
        """Bound what follows the headers, before any of it is read."""
        status, url = response.status_code, str(response.request.url)
        if not self._endless:
            self._statuses.append(status)
        if status >= 500 and self._tries[_same(response.request)] == TRIES:  # give up now, without another pause
            raise self._given_up(response.request)
        if (status in _BUSY or status >= 500) and (wait := _asked_to_wait(response)) > LONGEST_WAIT:
            raise HubError(f"{address(url)} answered HTTP {status}: it wants a pause of {wait:,.0f} s. Try later.")
        if response.request.method == "HEAD":
            _check_names(response)
            self._announced(response)
            return
        whole = _here.streams and status in (200, 206)
        if response.headers.get("Content-Encoding", "identity").lower() != "identity" and not (whole and self._packed):
            raise HubError(f"{address(url)} sends a compressed answer, though none was asked for: refused.")
        if not whole:
            if _here.streams or response.has_redirect_location:
                _here.allowance.limit(REST_BYTES)
        elif (size := self._sizes.get(url)) is not None:
            _here.allowance.limit(size + REST_BYTES)
        if not _here.streams:
            _check_names(response)

    def _announced(self, response: httpx2.Response) -> None:
        """Remember how large a file is, and where it lies; keep the token from servers that hand out others."""
        headers, url = response.headers, response.request.url
        size = headers.get("X-Linked-Size") or headers.get("Content-Length") or ""
        if re.fullmatch("[0-9]{1,18}", size) and not self._endless:
            self._sizes[str(url)] = int(size)
            if response.has_redirect_location:
                self._sizes[str(url.join(headers["Location"]))] = int(size)
        # hf_xet sends the token to the address that the answer names; without one, the file comes over HTTP.
        route = response.links.get("xet-auth", {}).get("url") or headers.get("X-Xet-Refresh-Route") or ""
        if not route.startswith(constants.HUGGINGFACE_CO_URL_HOME) and not _same_server(self._origin, url.join(route)):
            headers.pop("X-Xet-Hash", None)

    def _given_up(self, request: httpx2.Request) -> HubError:
        failures = [f"HTTP {status}" for status in sorted(set(self._statuses)) if status >= 400]
        return HubError(
            f"{address(str(request.url))} did not arrive in {TRIES} tries of at most "
            f"{constants.HF_HUB_DOWNLOAD_TIMEOUT} s of silence each ({', '.join(failures) or 'it broke off'}). "
            "Try later; HF_HUB_DOWNLOAD_TIMEOUT sets the seconds."
        )


def _check_names(response: httpx2.Response) -> None:
    """Refuse an answer whose commit or hash, which become names of files in the cache, lead out of their folder.

    Raises:
        HubError: one does.
    """
    path, headers = response.request.url.path, response.headers
    names = []
    if response.request.method == "HEAD" and "/resolve/" in path:
        names = [headers.get(name, "").removeprefix("W/").strip('"') for name in ("X-Linked-Etag", "ETag")]
        names.append(headers.get("X-Repo-Commit", ""))
    elif response.status_code == 200 and _INFO.fullmatch(path):
        response.read()
        try:
            names = [str(response.json()["sha"])]
        except (ValueError, RecursionError, LookupError, TypeError):
            return  # huggingface_hub says what it misses
    if unfit := [name for name in names if name and not re.fullmatch(r"\w[\w.+=:-]{0,200}", name)]:
        raise HubError(
            f"{address(str(response.request.url))} gives {quoted(unfit[0])} as a commit or a hash: no hub does. "
            "Check HF_ENDPOINT."
        )


_INFO = re.compile(r".*/api/(?:models|datasets)/[^/]+(?:/[^/]+)?(?:/revision/.+)?")


def _same(request: httpx2.Request) -> tuple[str, str, str | None]:
    return request.method, str(request.url), request.headers.get("Range")


def _same_server(one: httpx2.URL, other: httpx2.URL) -> bool:
    """Return whether two addresses have one origin, or the second is the encrypted door of the first."""
    ours, theirs = ((url.scheme, url.host, url.port or _PORTS.get(url.scheme)) for url in (one, other))
    return ours == theirs or (ours[1] == theirs[1] and ours[::2] == ("http", 80) and theirs[::2] == ("https", 443))


_PORTS = {"http": 80, "https": 443}


def _asked_to_wait(response: httpx2.Response) -> float:
    """Return the seconds that a busy server wants a client to wait, as huggingface_hub reads them."""
    asked = [0.0]
    after = response.headers.get("Retry-After", "").strip()
    limits = response.headers.get("ratelimit", "")
    if after.isdigit():
        asked.append(_number(after))
    if limits and (waits := re.findall(r"\bt\s*=\s*(\d+)", limits)):
        asked += map(_number, waits)
    return max(asked)


def _number(digits: str) -> float:
    return math.inf if len(digits) > 9 else float(digits)
