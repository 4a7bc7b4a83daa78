"""Downloads: snapshots of the Hugging Face hub, and upstream archives by URL.

Every HTTP exchange ends, in bounded time and bytes: ``transfer`` has the limits. Whether a server answers at all is
tested once per process, within seconds; one that falls silent costs ``HF_HUB_DOWNLOAD_TIMEOUT`` seconds (default 10) a
try. (Repositories in Xet storage are fetched by hf_xet, which has limits of its own; ``HF_HUB_DISABLE_XET=1`` fetches
them over HTTP.) ``transfer`` and httpx2 are imported where they are needed: runs on local models and data do not load
them.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import sys
import threading
import time
from base64 import b64encode
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Literal, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit
from urllib.request import getproxies

import huggingface_hub
from huggingface_hub import constants, errors
from huggingface_hub.utils._http import default_client_factory, hf_request_event_hook
from huggingface_hub.utils.tqdm import disable_progress_bars

from flue_bench import escape
from flue_bench.errors import (
    FlueBenchError,
    HubError,
    ModelNotFoundError,
    OfflineError,
    address,
    plain_addresses,
    quoted,
)
from flue_bench.files import write
from flue_bench.task import REVISION

if TYPE_CHECKING:
    import httpx2
    from huggingface_hub import ModelCard

RepoType = Literal["model", "dataset"]

_log = logging.getLogger(__name__)
_probed: dict[str, str] = {}
"""Server → why it does not answer, or an empty string if it does."""


@dataclass(frozen=True)
class Snapshot:
    """Files of one commit of a repository in the hub's cache."""

    folder: Path
    commit: str | None


class Repository(NamedTuple):
    """The hub's information on a repository at a revision."""

    commit: str
    files: list[str]
    """Sorted names, ``/``-separated."""
    gated: bool
    """Whether only users who accepted conditions may read its files."""


class _Cached(NamedTuple):
    """The cached files of one commit."""

    folder: Path
    listing: list[str] | None
    """The repository's files, if the cache knows them."""
    present: list[str]

    def lacks(self, patterns: Sequence[str]) -> list[str]:
        """Return the patterns that match nothing, and files known to match that are missing."""
        listing = self.present if self.listing is None else self.listing
        unmatched = [pattern for pattern in patterns if not _matching(listing, [pattern])]
        return unmatched + sorted(set(_matching(listing, patterns)) - set(self.present))


def fetch(
    repo_id: str,
    *,
    repo_type: RepoType,
    revision: str | None,
    patterns: Sequence[str],
    offline: bool = False,
    max_bytes: float | None = None,
) -> Snapshot:
    """Fetch the files of a hub repository that match ``patterns``, from the cache where it has them.

    A pinned commit that is completely cached makes no request. Otherwise the hub is asked; where it does not answer,
    the last cached files are used, with a warning.

    Args:
        repo_id: ``org/name``.
        repo_type: the kind of repository.
        revision: commit, branch or tag; None for the main branch.
        patterns: globs as in ``huggingface_hub.snapshot_download``; each must match a file.
        offline: use the cache alone, as ``HF_HUB_OFFLINE=1`` does.
        max_bytes: the most that is received, whatever the server announces; None: the limit of ``transfer``.

    Raises:
        ModelNotFoundError: the model or revision does not exist.
        OfflineError: the files are not cached, and the hub is unreachable or must not be asked.
        HubError: the data set does not exist, access is refused, the server is broken or silent, or a pattern matches
            nothing.
    """
    if cached := _from_cache(repo_id, repo_type, revision, patterns, offline):
        return cached
    pinned = is_commit(revision)
    with _asking(repo_id, repo_type, revision, max_bytes) as answers:
        folder = Path(
            huggingface_hub.snapshot_download(
                repo_id, repo_type=repo_type, revision=revision, allow_patterns=list(patterns)
            )
        )
    if not pinned and all(status >= 400 for status in answers):  # snapshot_download then falls back silently
        _cache_serves(repo_id, folder.name, f"{address(constants.ENDPOINT)} did not answer properly")
    snapshot = _cached(repo_id, repo_type, folder.name)
    lacks = list(patterns) if snapshot is None else snapshot.lacks(patterns)
    if snapshot is None or lacks:
        known = _listing(repo_id, repo_type, folder.name) if snapshot is None else snapshot.listing or snapshot.present
        raise _nothing_matches(repo_id, repo_type, revision, lacks, known or [])
    _verify(folder, _matching(snapshot.present, patterns))
    return Snapshot(folder, folder.name)


def about(repo_id: str, *, repo_type: RepoType, revision: str | None = None) -> Repository:
    """Return the hub's information on a repository, by one request and without a file.

    Raises:
        ModelNotFoundError: the model or revision does not exist.
        HubError: the data set does not exist or is private, or the server is broken or silent.
    """
    with _asking(repo_id, repo_type, revision):
        ask = huggingface_hub.model_info if repo_type == "model" else huggingface_hub.dataset_info
        info = ask(repo_id, revision=revision)
    return Repository(
        info.sha or "", sorted(sibling.rfilename for sibling in info.siblings or ()), gated=bool(info.gated)
    )


def sizes(repo_id: str, *, repo_type: RepoType, revision: str | None) -> tuple[str, dict[str, int]]:
    """Return the commit of a repository's revision, and its files by name with their sizes, before any is fetched.

    Raises:
        ModelNotFoundError, HubError: as for ``about``.
    """
    commit = about(repo_id, repo_type=repo_type, revision=revision).commit
    with _asking(repo_id, repo_type, revision):
        tree = huggingface_hub.list_repo_tree(repo_id, repo_type=repo_type, revision=commit, recursive=True)
        return commit, {each.path: each.size for each in tree if isinstance(each, huggingface_hub.hf_api.RepoFile)}


def check_access(repo_id: str, *, repo_type: RepoType) -> None:
    """Check that this user may read the files of a repository, which may be gated.

    Raises:
        HubError: access is refused.
    """
    with _asking(repo_id, repo_type, None):
        huggingface_hub.auth_check(repo_id, repo_type=repo_type)


def check_repository(
    repo_id: str, *, repo_type: RepoType, revision: str | None, patterns: Sequence[str], offline: bool = False
) -> None:
    """Raise what ``fetch`` would raise, as far as that is known before a file is requested.

    Args:
        repo_id, repo_type, revision, patterns, offline: as for ``fetch``.
    """
    if _from_cache(repo_id, repo_type, revision, patterns, offline):
        return
    there = about(repo_id, repo_type=repo_type, revision=revision)
    if there.gated:
        check_access(repo_id, repo_type=repo_type)
    if lacks := [pattern for pattern in patterns if not _matching(there.files, [pattern])]:
        raise _nothing_matches(repo_id, repo_type, revision, lacks, there.files)


def files(repo_id: str, *, repo_type: RepoType, revision: str | None, offline: bool = False) -> list[str]:
    """Return the sorted names of a repository's files, ``/``-separated; those cached where the hub is unreachable.

    Raises:
        ModelNotFoundError: the model or revision does not exist.
        OfflineError: nothing is cached, and the hub is unreachable or must not be asked.
        HubError: the data set does not exist, access is refused, or the server is broken or silent.
    """
    offline = offline or huggingface_hub.is_offline_mode()
    cached = _cached(repo_id, repo_type, revision)
    if not offline and is_commit(revision) and cached is not None and cached.listing is not None:
        return cached.listing
    if not offline and reachable():
        try:
            with _asking(repo_id, repo_type, revision):
                listed = huggingface_hub.list_repo_files(repo_id, repo_type=repo_type, revision=revision)
                return sorted(listed)
        except HubError:
            if cached is None:
                raise
    if cached is None:
        raise _out_of_reach(repo_id, repo_type, revision, ["the list of its files"], offline)
    return cached.present


def validate(card: ModelCard, name: str) -> None:
    """Let the hub check a model card's metadata, as it does before an upload (``huggingface_hub``'s own request).

    Args:
        card: the model card with its metadata.
        name: the model's name for messages.

    Raises:
        OfflineError: there is no network, or it is switched off.
        HubError: the hub refuses the metadata, or breaks off. Any other successful answer counts as approval, as it
            does in huggingface_hub.
    """
    if not reachable():
        why = "network use is switched off" if huggingface_hub.is_offline_mode() else "it is out of reach"
        raise OfflineError(f"The card was not checked: the hub at {endpoint()} does that, and {why}.")
    with _asking(name, "model", None):
        try:
            card.validate()
        except ValueError as error:  # raised for HTTP 400; the user needs its text
            raise HubError(f"{endpoint()} refuses the card's metadata: {cleaned(str(error))[:500]}") from error


def reachable(timeout: float = 3.0) -> bool:
    """Return whether the hub answers, by one request per process (``HF_ENDPOINT`` and proxies are respected).

    Args:
        timeout: seconds, name lookup included.
    """
    return not huggingface_hub.is_offline_mode() and not silence(timeout)


def silence(timeout: float = 3.0) -> str:
    """Return why the hub does not answer, as the failing part reports it; empty if it does. Tested once per process."""
    return _silence(constants.ENDPOINT, timeout)


def endpoint() -> str:
    """Return the hub's address without secrets, for a message."""
    return address(constants.ENDPOINT)


def download(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    sha256: str | None = None,
    offline: bool = False,
    max_bytes: int = 8 * 2**30,
) -> None:
    """Stream a file over HTTP(S) into ``target``, which appears only when it is complete and has been checked.

    Args:
        url: the address of the file.
        target: the file to write; its folder is made.
        size: its expected size in bytes, where this is known.
        sha256: its expected SHA-256, where this is known.
        offline: make no request, and raise.
        max_bytes: larger files are refused, whatever the server announces.

    Raises:
        OfflineError: the server is unreachable, or ``offline`` is set.
        HubError: the answer is not the whole file (a page, such as a log-in; another file), or the disk cannot hold it.
    """
    from flue_bench.data import transfer

    shown = address(url)
    _check_server(url, offline)

    def receive(file: BinaryIO) -> None:
        client = transfer.Client(url, max_bytes=max_bytes + transfer.REST_BYTES, packed=True)
        with client, client.stream("GET", url) as response, _progress(target.name) as show:
            total = _announced(response, shown)
            digest, received = hashlib.sha256(), 0
            for chunk in response.iter_raw():
                if not received and _PAGE.match(chunk):
                    raise HubError(_a_page(shown))
                received += len(chunk)
                if max(received, total or 0) > max_bytes:
                    raise HubError(f"{shown} holds more than {max_bytes:,} bytes: refused.")
                _check_size(shown, total, size)
                file.write(chunk)
                digest.update(chunk)
                show(received, total)
        _check_size(shown, received, size)
        if sha256 not in (None, actual := digest.hexdigest()):
            raise HubError(
                f"{shown} sent another file than the published one (SHA-256 {actual[:12]}…, not {sha256[:12]}…): "
                f"not kept.\nTry again, {_OR_ELSE}."
            )

    try:
        write(target, receive, root=target.parent)
    except transfer.BROKEN as error:
        broken = _named(error, url)
        raise HubError(f"{shown} broke off ({broken}).\nTry again, {_OR_ELSE}.") from error
    except OSError as error:
        raise HubError(f"{target} cannot be written: {error.strerror or error}.") from error


def check_file(url: str, *, size: int | None = None, offline: bool = False) -> None:
    """Check by the headers alone that a server offers a file; return without an error where ``download`` may succeed.

    Args:
        url, size, offline: as for ``download``.

    Raises:
        OfflineError: the server is unreachable, or ``offline`` is set.
        HubError: the server refuses, or would send a page or a file of another size.
    """
    from flue_bench.data import transfer

    shown = address(url)
    _check_server(url, offline)
    try:
        with transfer.Client(url) as client, client.stream("HEAD", url) as response:
            if response.status_code in (405, 501):  # the server does not support HEAD
                return
            total = _announced(response, shown)
            if response.headers.get("Content-Type", "").startswith("text/html"):
                raise HubError(_a_page(shown))
            _check_size(shown, total, size)
    except transfer.BROKEN as error:
        raise HubError(f"{shown} broke off ({type(error).__name__}). Try later.") from error


def _check_server(url: str, offline: bool) -> None:
    """Raise unless the server of a URL may be asked and answers."""
    shown, parts = address(url), urlsplit(url)
    if parts.scheme not in ("http", "https"):
        raise HubError(f"{shown} is not an http(s) address.")
    if offline or huggingface_hub.is_offline_mode():
        raise OfflineError(f"{shown} is not in the cache and network use is switched off.\nGo online once, {_OR_ELSE}.")
    if reason := _silence(f"{parts.scheme}://{parts.netloc}", 5.0):
        raise OfflineError(f"{shown} is out of reach ({reason}).\nCheck the network or the proxy, {_OR_ELSE}.")


def _announced(response: httpx2.Response, shown: str) -> int | None:
    """Return the bytes that a server announces. Raises HubError if it does not send a file."""
    if response.status_code in (401, 403):
        raise HubError(f"{shown} answered HTTP {response.status_code}: it requires permission.")
    if response.status_code != 200:
        raise HubError(f"{shown} answered HTTP {response.status_code}.\nCheck the address, {_OR_ELSE}.")
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() else None


def _check_size(shown: str, sent: int | None, size: int | None) -> None:
    if sent is not None and size is not None and sent != size:
        raise HubError(f"{shown} sends {sent:,} bytes, the published file has {size:,}: another file, not kept.")


def _a_page(shown: str) -> str:
    return f"{shown} sends an HTML page (a log-in, perhaps) instead of the file: not kept."


_PAGE = re.compile(rb"[\s\xef\xbb\xbf]*<(!doctype html|html|head|body)\b", re.IGNORECASE)

_OR_ELSE = "or put the file's contents under --data-dir"


def is_commit(revision: str | None) -> bool:
    """Return whether a revision is a whole commit, which never moves."""
    return re.fullmatch("[0-9a-f]{40}", revision or "") is not None


def _matching(names: Sequence[str], patterns: Sequence[str]) -> list[str]:
    return [name for name in names if any(fnmatch(name, pattern) for pattern in patterns)]


def cleaned(text: str, *urls: str) -> str:
    """Return what a server or a library said, as it may be quoted: no token, no password, addresses as they are shown.

    Args:
        text: what was said.
        urls: addresses that were asked, whose passwords and queries are secrets too.
    """
    for secret in _secrets(urls):
        text = text.replace(secret, "…")
    text = re.sub(r"\b(bearer|basic)\s+[\w.~+/=-]+", r"\1 …", text, flags=re.IGNORECASE)
    return escape.lines(plain_addresses(text))


def _named(error: Exception, url: str) -> str:
    """Return an error of a request for a message. What a malformed address raises quotes a part of it: not repeated."""
    import httpx2

    name = type(error).__name__
    if not isinstance(error, httpx2.HTTPError):
        return f"{name}: an address is malformed, that of the server or one in http_proxy, https_proxy, all_proxy"
    return cleaned(f"{name}: {error}".rstrip(": "), url)[:300]


def _secrets(urls: Sequence[str]) -> list[str]:
    """Return what must not be quoted, the longest first."""
    secrets = set()
    with suppress(OSError):
        secrets.add(huggingface_hub.get_token() or "")
    for url in (constants.ENDPOINT, *getproxies().values(), *urls):
        with suppress(ValueError):
            parts = urlsplit(url)
            name, password = parts.username or "", parts.password or ""
            if name or password:
                both = f"{unquote(name)}:{unquote(password)}"
                secrets |= {password, unquote(password), b64encode(both.encode()).decode()}
            secrets |= {part for _, value in parse_qsl(parts.query) for part in (value, unquote(value))} | {parts.query}
    return sorted((secret for secret in secrets if len(secret) > 2), key=len, reverse=True)


def _what(repo_id: str, repo_type: RepoType, revision: str | None) -> str:
    return f"{'Model' if repo_type == 'model' else 'Data set'} {repo_id}" + (f" at {revision}" if revision else "")


def _cached(repo_id: str, repo_type: RepoType, revision: str | None) -> _Cached | None:
    if revision is not None and re.fullmatch(REVISION, revision) is None:  # it becomes part of a path of the cache
        raise HubError(f"{quoted(revision)} is no revision: a commit, a branch or a tag of {repo_id} is asked for.")
    try:
        snapshot = huggingface_hub.snapshot_download(
            repo_id, repo_type=repo_type, revision=revision, allow_patterns=[], local_files_only=True
        )
    except (errors.LocalEntryNotFoundError, errors.HFValidationError):
        return None
    folder = Path(snapshot)
    present = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return _Cached(folder, _listing(repo_id, repo_type, folder.name), present)


def _listing(repo_id: str, repo_type: RepoType, commit: str) -> list[str] | None:
    """Return the names of a repository's files, if the cache knows them."""
    try:
        tree = huggingface_hub.get_cached_repo_tree(repo_id, repo_type=repo_type, revision=commit)
    except errors.CachedRepoTreeNotFoundError:  # an older huggingface_hub filled the cache
        return None
    return sorted(file.path for file in tree)


def _from_cache(
    repo_id: str, repo_type: RepoType, revision: str | None, patterns: Sequence[str], offline: bool
) -> Snapshot | None:
    """Return the cached files where they suffice; None where the hub has to be asked.

    Raises:
        OfflineError: the hub cannot be asked, and the cache is incomplete.
    """
    offline = offline or huggingface_hub.is_offline_mode()
    cached = _cached(repo_id, repo_type, revision)
    whole = cached is not None and not cached.lacks(patterns)
    if cached is not None and whole and (offline or (is_commit(revision) and cached.listing is not None)):
        return Snapshot(cached.folder, cached.folder.name)
    if not offline and reachable():
        return None
    if cached is None or not whole:
        lacks = list(patterns) if cached is None else cached.lacks(patterns)
        raise _out_of_reach(repo_id, repo_type, revision, lacks, offline)
    _cache_serves(repo_id, cached.folder.name, f"{address(constants.ENDPOINT)} is out of reach")
    return Snapshot(cached.folder, cached.folder.name)


def _nothing_matches(
    repo_id: str, repo_type: RepoType, revision: str | None, lacks: Sequence[str], known: Sequence[str]
) -> HubError:
    some = ", ".join(known[:8]) + (f", … ({len(known)} in all)" if len(known) > 8 else "")
    return HubError(
        f"{_what(repo_id, repo_type, revision)} has nothing that matches {', '.join(lacks)}. "
        f"Its files: {some or 'none'}."
    )


def _cache_serves(repo_id: str, commit: str, why: str) -> None:
    _log.warning("%s: the cached commit %s of %s serves.", why, commit[:12], repo_id)


def _out_of_reach(
    repo_id: str, repo_type: RepoType, revision: str | None, lacks: Sequence[str], offline: bool
) -> OfflineError:
    missing = f"{_what(repo_id, repo_type, revision)} is not in the cache (missing: {', '.join(lacks)})"
    instead = "or put the files under --data-dir"
    if repo_type == "model":
        named = f"{repo_id}@{revision}" if revision else repo_id
        instead = f"fetch it where there is a network (`flue-bench fetch --model {named}`), or use a model's folder"
    if offline:  # not even the probe is made
        return OfflineError(
            f"{missing} and network use is switched off.\nLeave out --offline and HF_HUB_OFFLINE, {instead}."
        )
    silent = f"{address(constants.ENDPOINT)} is out of reach ({_silence(constants.ENDPOINT, 0)})"
    return OfflineError(
        f"{missing} and {silent}.\nCheck the network or the proxy, {instead}; the cache is {constants.HF_HUB_CACHE}."
    )


def _silence(server: str, timeout: float) -> str:
    """Return why a server does not answer; empty if it does. Any HTTP status is an answer."""
    from flue_bench.data import transfer

    def probe() -> None:
        try:
            with transfer.Client(server) as client:
                client.head(server, follow_redirects=False)
            reason.append("")
        except Exception as error:  # a proxy's malformed address raises ValueError, a bad URL another class again
            reason.append(_named(error, server))

    if server not in _probed:
        # In a thread because a name lookup has no timeout of its own and can take half a minute.
        reason: list[str] = []
        thread = threading.Thread(target=probe, daemon=True)
        thread.start()
        thread.join(timeout)
        _probed[server] = reason[0] if reason else f"no answer within {timeout:g} s"
    return _probed[server]


def guard() -> None:
    """Bound all later requests of huggingface_hub in this process, for a library that makes its own to stream a file.

    Each request ends, and none carries the token to another server, as with the functions of this module.
    """
    from flue_bench.data import transfer

    def client() -> transfer.Client:
        return transfer.Client(constants.ENDPOINT, [hf_request_event_hook], endless=True)

    global _usual_client
    _usual_client = client
    huggingface_hub.set_client_factory(client)
    for handler in logging.getLogger("huggingface_hub").handlers:
        handler.addFilter(_DISCREET)


class _Discreet(logging.Filter):
    """Takes secrets and control characters out of what huggingface_hub logs: addresses, and what a server said."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = cleaned(record.getMessage())[:1000], ()
        return True


_DISCREET = _Discreet()
_usual_client: Callable[[], Any] = default_client_factory
"""What makes clients outside our own exchanges."""


@contextmanager
def _asking(
    repo_id: str, repo_type: RepoType, revision: str | None, max_bytes: float | None = None
) -> Iterator[list[int]]:
    """Bound one exchange with the hub and turn its errors into ours. Yields the HTTP statuses seen."""
    from flue_bench.data import transfer

    answers: list[int] = []

    def client() -> transfer.Client:
        most = transfer.FILES_BYTES if max_bytes is None else max_bytes
        return transfer.Client(constants.ENDPOINT, [hf_request_event_hook], statuses=answers, max_bytes=most)

    huggingface_hub.set_client_factory(client)
    handlers = [each for each in logging.getLogger("huggingface_hub").handlers if _DISCREET not in each.filters]
    for handler in handlers:
        handler.addFilter(_DISCREET)
    # Its bar over all files would also show without a terminal. A user's HF_HUB_DISABLE_PROGRESS_BARS is respected.
    loud = sys.stderr.isatty() or constants.HF_HUB_DISABLE_PROGRESS_BARS is not None
    try:
        with nullcontext() if loud else disable_progress_bars():
            yield answers
    except FlueBenchError:
        raise
    except Exception as error:  # huggingface_hub can raise almost anything on an answer that is not a hub's
        raise _explained(error, repo_id, repo_type, revision) from error
    finally:
        huggingface_hub.set_client_factory(_usual_client)
        for handler in handlers:
            handler.removeFilter(_DISCREET)


def _explained(error: BaseException, repo_id: str, repo_type: RepoType, revision: str | None) -> FlueBenchError:
    """Return our error for the hub's refusal. Nothing that a server sent is repeated: it may hold a token."""
    import httpx2

    from flue_bench.data.transfer import TRIES

    what = _what(repo_id, repo_type, revision)
    endpoint = address(constants.ENDPOINT)
    page = f"{endpoint}/{'datasets/' if repo_type == 'dataset' else ''}{repo_id}"
    absent = ModelNotFoundError if repo_type == "model" else HubError
    login = f"Accept the conditions at {page} if there are any, and log in with `hf auth login`."
    if isinstance(error, errors.LocalEntryNotFoundError) and error.__cause__ is not None:
        return _explained(error.__cause__, repo_id, repo_type, revision)
    if isinstance(error, errors.GatedRepoError):
        return HubError(f"{what} is gated. {login}")
    if isinstance(error, errors.RevisionNotFoundError):
        return absent(f"{what}: there is no such revision. {page}/commits/main lists them.")
    if isinstance(error, errors.RepositoryNotFoundError):
        return absent(
            f"{what} is not at {endpoint}, or it is private. Look at {page}; for a private one, `hf auth login`."
        )
    if isinstance(error, errors.HFValidationError):
        return absent(f"'{repo_id}' is not the name of a repository: use org/name.")
    if isinstance(error, errors.HfHubHTTPError):
        status = error.response.status_code
        advice = login if status in (401, 403) else "Try later, or check HF_ENDPOINT."
        return HubError(f"{what}: {endpoint} answered HTTP {status}. {advice}")
    if isinstance(error, httpx2.HTTPError | errors.XetDownloadError):
        silence = f"at most {TRIES} tries, {constants.HF_HUB_DOWNLOAD_TIMEOUT} s of silence each"
        return HubError(f"{what}: {endpoint} broke off ({type(error).__name__}; {silence}). Try later.")
    if isinstance(error, OSError) and error.errno is not None:
        return HubError(f"{what} cannot be stored in {constants.HF_HUB_CACHE}: {error.strerror}.")
    if isinstance(error, OSError) and "Consistency check" in str(error):
        return HubError(f"{what}: a file arrived with another size than announced. Try again.")
    return HubError(
        f"{what}: {endpoint} gave an answer that is not a hub's ({type(error).__name__}). "
        "Check HF_ENDPOINT, and whether a proxy shows a log-in page."
    )


def _verify(folder: Path, names: Sequence[str]) -> None:
    """Compare files with the hash that names their blob: SHA-256, or git's; huggingface_hub checks only sizes.

    A cache without symbolic links keeps no hash; nothing is compared there.
    """
    for name in names:
        pointer = folder / name
        expected = Path(os.readlink(pointer)).name if pointer.is_symlink() else ""
        if re.fullmatch("[0-9a-f]{40}|[0-9a-f]{64}", expected) is None:
            continue
        with pointer.open("rb") as file:
            if len(expected) == 64:
                digests = {hashlib.file_digest(file, "sha256").hexdigest()}
            else:  # mirrors may give the plain SHA-1
                content = file.read()
                digests = {hashlib.sha1(head + content).hexdigest() for head in (b"", b"blob %d\0" % len(content))}
        if expected not in digests:
            pointer.resolve().unlink()
            pointer.unlink()
            raise HubError(f"{name} arrived damaged (its hash is not {expected[:12]}…) and was removed. Run again.")


@contextmanager
def _progress(name: str) -> Iterator[Callable[[int, int | None], None]]:
    """Show a bar on a terminal's standard error if the download takes longer than two seconds."""
    started = time.monotonic()
    with ExitStack() as stack:
        bar: Any = None

        def show(received: int, total: int | None) -> None:
            nonlocal bar
            if bar is None and sys.stderr.isatty() and time.monotonic() - started > 2:
                from rich import progress

                from flue_bench.progress import Console

                bar = stack.enter_context(
                    progress.Progress(
                        progress.TextColumn("{task.description}", markup=False),
                        progress.BarColumn(),
                        progress.DownloadColumn(),
                        progress.TransferSpeedColumn(),
                        progress.TimeRemainingColumn(),
                        console=Console(stderr=True),
                        transient=True,
                    )
                )
                bar.add_task(name, total=total)
            if bar is not None:
                bar.update(bar.task_ids[0], completed=received)

        yield show
