"""A small Hugging Face hub on localhost for the real ``huggingface_hub`` client, and things to put on it.

    with StandIn() as hub:
        hub.add_repo("cmarkea/distilcamembert-base", "model", folder_files(tiny_camembert(tmp_path / "tiny")))
        hub.add_repo("facebook/xnli", "dataset", {}, revisions={"b8dd5d7a…": xnli_files()})
        subprocess.run([...], env=hub.env(tmp_path))

Rows are our own sentences in the data sets' real file layouts; labels follow from the words, so that a model can learn.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import itertools
import json
import os
import random
import re
import sys
import tarfile
import threading
from base64 import b64decode
from collections.abc import Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Literal, cast
from urllib.parse import unquote, urlsplit
from xml.sax.saxutils import escape

import yaml

Files = Mapping[str, bytes]
RepoType = Literal["model", "dataset"]
Fault = Literal["404", "500", "hang", "stall", "truncate", "corrupt", "short", "nonsense"]
"""What goes wrong: an error status on any request; ``hang`` says nothing at all; and for GET alone: ``stall`` falls
silent amid the body, ``truncate`` closes amid it and ignores ranges, ``corrupt`` sends other bytes, ``short`` sends
fewer bytes than the HEAD announced, ``nonsense`` is a page of HTML."""
Malice = Literal[
    "drip", "drip-line", "hints", "trickle", "chunk-line", "endless", "endless-error", "endless-redirect", "bomb",
    "busy", "busy-limit", "around", "away", "next-away", "next-itself", "xet-away", "warns", "echo",
]  # fmt: skip
"""What a hostile server does. Time: ``drip`` sends headers and ``drip-line`` one header a byte at a time, ``hints``
sends 103 without end, ``trickle`` a body and ``chunk-line`` the length of a chunk a byte at a time, ``busy`` and
``busy-limit`` want a pause of a day, ``around`` redirects to itself. Bytes: ``endless``, ``endless-error`` and
``endless-redirect`` send bodies without end, ``bomb`` one that is a thousand times larger unpacked, ``next-itself``
lists on and on. Secrets: ``away`` redirects to the address ``elsewhere``, ``next-away`` has the next page and
``xet-away`` the door to Xet storage there, ``warns`` and ``echo`` repeat what they were sent."""

TOKEN = "hf_" + "SecretSecretSecretSecret"
LARGE = (".safetensors", ".bin", ".parquet", ".model", ".gz", ".zip", ".bz2")
"""Stored as large files: named by SHA-256 rather than by git's hash."""


class StandIn:
    """Serves repositories and plain files from memory, logs every request, and misbehaves as told."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        """``METHOD path?query``, in order."""
        self.authorised: list[str] = []
        """Of those, the ones that carried an Authorization header."""
        self.faults: dict[str, Fault | Malice] = {}
        """Part of a path, or method and part of a path → what goes wrong there."""
        self.elsewhere = ""
        """The address of another server."""
        self.names: dict[str, str] = {}
        """``sha`` of a repository, or a header (``ETag``, ``X-Repo-Commit``) → what to send in its place."""
        self._repos: dict[tuple[str, str], _Repo] = {}
        self._plain: dict[str, bytes] = {}
        self._closing = threading.Event()
        self._server = _Server(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        self.endpoint = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> StandIn:
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()

    def add_repo(
        self,
        repo_id: str,
        repo_type: RepoType,
        files: Files,
        revisions: Mapping[str, Files] | None = None,
        gated: bool = False,
    ) -> str:
        """Put a repository up; again, to move its branch ``main``. Old commits stay.

        Args:
            repo_id: ``org/name``.
            repo_type: which kind.
            files: of the branch ``main``.
            revisions: branch, tag or 40-digit commit → its files.
            gated: the files are refused, the listing is not, as on the hub.

        Returns:
            the commit of ``main``, derived from the files.
        """
        repo = self._repos.setdefault((repo_type, repo_id), _Repo())
        repo.gated = gated
        for name, content in {"main": files, **(revisions or {})}.items():
            commit = name if re.fullmatch("[0-9a-f]{40}", name) else _commit_of(content)
            repo.commits[commit] = dict(content)
            repo.names[name] = commit
        return repo.names["main"]

    def serve_file(self, path: str, content: bytes) -> str:
        """Put a plain file up; returns its URL."""
        self._plain["/" + path.lstrip("/")] = content
        return f"{self.endpoint}/{path.lstrip('/')}"

    def env(self, tmp_path: Path) -> dict[str, str]:
        """An environment for a subprocess that knows no other hub, no other cache, no token."""
        own = {
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(tmp_path / "hf"),
            "FLUE_BENCH_CACHE": str(tmp_path / "flue-bench"),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_HUB_DISABLE_XET": "1",
            "HF_HUB_DOWNLOAD_TIMEOUT": "1",
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
        }
        return {key: value for key, value in os.environ.items() if not key.startswith(("HF_", "TRANSFORMERS_"))} | own


class _Repo:
    def __init__(self) -> None:
        self.gated = False
        self.names: dict[str, str] = {}
        self.commits: dict[str, dict[str, bytes]] = {}

    def commit(self, revision: str) -> str | None:
        return self.names.get(revision) or (revision if revision in self.commits else None)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        if not isinstance(sys.exception(), ConnectionError):  # a client may hang up, on a broken server above all
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    hub: StandIn
    protocol_version = "HTTP/1.1"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing on standard error: ``StandIn.requests`` is the log."""

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self.hub.requests.append(f"POST {self.path}")
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        if self._uploads(sent):
            return
        body = json.loads(sent)
        said = _card_faults(body["content"]) if self.path == "/api/validate-yaml" else "Not found"
        if not said:
            self._json(200, {"errors": [], "warnings": []})
            return
        content = f"{said} (you sent {self.headers.get('Authorization')})".encode()
        self._head(400, {"Content-Type": "text/plain", "Content-Length": str(len(content))})
        self.wfile.write(content)

    def _uploads(self, sent: bytes) -> bool:
        """Take a repository that a client puts up, every file within its commit; return whether this was part of it."""
        made = re.fullmatch(r"/api/(model|dataset)s/(.+?)/(preupload|commit)/main", self.path.partition("?")[0])
        if self.path == "/api/repos/create":
            named = json.loads(sent)
            repo_id = "/".join(filter(None, (named.get("organization"), named["name"])))
            kind = named.get("type", "model")
            self.hub.add_repo(repo_id, kind, {})
            self._json(200, {"url": f"{self.hub.endpoint}/{'datasets/' if kind == 'dataset' else ''}{repo_id}"})
        elif made and made[3] == "preupload":
            paths = [each["path"] for each in json.loads(sent)["files"]]
            modes = [{"path": path, "uploadMode": "regular", "shouldIgnore": False, "oid": None} for path in paths]
            self._json(200, {"files": modes})
        elif made:
            lines = [json.loads(line) for line in sent.splitlines()]
            files = {line["value"]["path"]: line["value"]["content"] for line in lines if line["key"] == "file"}
            repo_type, repo_id = cast(RepoType, made[1]), made[2]
            commit = self.hub.add_repo(repo_id, repo_type, {path: b64decode(text) for path, text in files.items()})
            self._json(200, {"commitOid": commit, "commitUrl": f"{self.hub.endpoint}/{repo_id}/commit/{commit}"})
        else:
            return False
        return True

    def _answer(self) -> None:
        line = f"{self.command} {self.path}"
        self.hub.requests.append(line)
        if "Authorization" in self.headers:
            self.hub.authorised.append(line)
        quoted = urlsplit(self.path).path  # a revision with a slash in it, refs/convert/parquet, comes as one part
        path = unquote(quoted)
        fault: Any = next(
            (fault for part, fault in self.hub.faults.items() if part in path or part in f"{self.command} {path}"), None
        )
        if self._hostile(fault):
            self.close_connection = True
        elif fault == "hang":
            self._fall_silent()
        elif fault in ("404", "500"):
            self._json(int(fault), {"error": f"{fault} as told"})
        elif fault == "nonsense" and self.command == "GET":
            self._body(b"<html>Bienvenue sur le portail.</html>", {}, None)
        elif path == "/":
            self._json(200, {})
        elif path in self.hub._plain:
            self._body(self.hub._plain[path], {}, fault)
        elif match := re.fullmatch(r"/api/(model|dataset)s/(.+?)/auth-check", path):
            if (found := self._found(match[1], match[2], "main")) is not None and not self._refused(found[0]):
                self._json(200, {})
        elif match := re.fullmatch(r"/api/(model|dataset)s/(.+?)/tree/([^/]+)(/.+)?", quoted):
            kind, *parts = (unquote(part or "") for part in match.groups())
            self._tree(kind, *parts, fault)
        elif match := re.fullmatch(r"/api/(model|dataset)s/(.+?)(?:/revision/([^/]+))?", quoted):
            repo_type, repo_id, revision = match.groups()
            self._about(repo_type, unquote(repo_id), unquote(revision or "main"), fault)
        elif match := re.fullmatch(r"/(datasets/)?(.+?)/resolve/([^/]+)/(.+)", quoted):
            kind, *parts = "dataset" if match[1] else "model", *map(unquote, match.groups()[1:])
            self._file(kind, *parts, fault)
        else:
            self._json(404, {"error": "Not found"})

    def _hostile(self, fault: Any) -> bool:
        """Do what a hostile server does; return whether that was the whole answer."""
        if self.hub._closing.is_set():
            return True
        start = b"HTTP/1.1 200 OK\r\n"
        error, away = (
            b"HTTP/1.1 403 Forbidden\r\n",
            f"HTTP/1.1 302 Found\r\nLocation: {self.hub.elsewhere}{self.path}\r\n",
        )
        chunked, chunk = b"Transfer-Encoding: chunked\r\n\r\n", b"10000\r\n" + b"[" * 65_536 + b"\r\n"
        if fault == "drip":
            self._send_on(start, itertools.cycle([b"X", b"-", b"A", b":", b" ", b"b", b"\r", b"\n"]), 0.02)
        elif fault == "drip-line":
            self._send_on(start + b"X-Long: ", itertools.repeat(b"a"), 0.02)
        elif fault == "hints":
            self._send_on(b"", itertools.repeat(b"HTTP/1.1 103 Early Hints\r\n\r\n"), 0.02)
        elif fault == "trickle":
            self._send_on(start + b"Content-Length: 1000000\r\n\r\n", itertools.repeat(b"["), 0.02)
        elif fault == "chunk-line":
            self._send_on(start + chunked, itertools.repeat(b"0"), 0.02)
        elif fault == "endless":
            self._send_on(start + chunked, itertools.repeat(chunk))
        elif fault == "endless-error":
            self._send_on(error + chunked, itertools.repeat(chunk))
        elif fault == "endless-redirect":
            self._send_on(away.encode() + chunked, itertools.repeat(chunk))
        elif fault == "bomb":
            packed = gzip.compress(bytes(2**26), 1)
            head = f"Content-Encoding: gzip\r\nContent-Length: {len(packed)}\r\n\r\n"
            self._send_on(start + head.encode(), [packed])
        elif fault == "busy":
            self._json(429, {"error": "busy"}, {"Retry-After": "86400"})
        elif fault == "busy-limit":
            self._json(429, {"error": "busy"}, {"ratelimit": '"api";r=0;t=86400', "ratelimit-policy": '"api";q=1;w=9'})
        elif fault == "around":
            self._head(302, {"Location": f"{self.path}x", "Content-Length": "0"})
        elif fault == "away" and not (self.command == "HEAD" and "/resolve/" in self.path):
            self._head(302, {"Location": f"{self.hub.elsewhere}{self.path}", "Content-Length": "0"})
        elif fault == "echo":
            self._json(403, {"error": f"\x1b[31m{self.headers.get('Authorization')} at {self.hub.elsewhere}"})
        else:
            return False
        return True

    def _send_on(self, start: bytes, pieces: Iterable[bytes], pause: float = 0.0) -> None:
        """Send raw bytes, piece by piece, until the client goes away."""
        with contextlib.suppress(OSError):
            self.wfile.write(start)
            for piece in pieces:
                self.wfile.write(piece)
                if self.hub._closing.wait(pause):
                    return

    def _found(self, repo_type: str, repo_id: str, revision: str) -> tuple[_Repo, str] | None:
        repo = self.hub._repos.get((repo_type, repo_id))
        commit = repo.commit(revision) if repo else None
        if repo is None:
            self._json(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
        elif commit is None:
            self._json(404, {"error": f"Invalid rev id: {revision}"}, {"X-Error-Code": "RevisionNotFound"})
        else:
            return repo, commit
        return None

    def _about(self, repo_type: str, repo_id: str, revision: str, fault: Any) -> None:
        if (found := self._found(repo_type, repo_id, revision)) is None:
            return
        repo, commit = found
        siblings = [{"rfilename": path} for path in sorted(repo.commits[commit])]
        answer = {
            "id": repo_id,
            "sha": self.hub.names.get("sha", commit),
            "private": False,
            "gated": repo.gated,
            "siblings": siblings,
        }
        self._body(json.dumps(answer).encode(), {"Content-Type": "application/json"}, fault)

    def _tree(self, repo_type: str, repo_id: str, revision: str, folder: str, fault: Any) -> None:
        """What lies in a folder, and below where ``recursive`` is asked for."""
        if (found := self._found(repo_type, repo_id, revision)) is None:
            return
        repo, commit = found
        inside = f"{folder.strip('/')}/" if folder else ""
        files = {path: content for path, content in repo.commits[commit].items() if path.startswith(inside)}
        if inside and not files:
            self._json(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
            return
        deep = "recursive=true" in urlsplit(self.path).query.lower()
        answer: list[dict[str, Any]] = []
        for path, content in sorted(files.items()):
            name, below, _ = path.removeprefix(inside).partition("/")
            if deep or not below:
                answer.append(_entry(path, content))
            elif inside + name not in (entry["path"] for entry in answer):
                answer.append({"type": "directory", "path": inside + name, "size": 0, "oid": _git_hash(name.encode())})
        headers = {"Content-Type": "application/json"}
        if fault in ("next-away", "next-itself"):
            server = self.hub.elsewhere if fault == "next-away" else self.hub.endpoint
            next_page = f"{server}{self.path}&more"
            headers["Link"] = f'<{next_page}>; rel="next"'
        self._body(json.dumps(answer).encode(), headers, fault)

    def _file(self, repo_type: str, repo_id: str, revision: str, name: str, fault: Any) -> None:
        if (found := self._found(repo_type, repo_id, revision)) is None:
            return
        repo, commit = found
        content = repo.commits[commit].get(name)
        if self._refused(repo):
            return
        if content is None:
            self._json(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": commit})
        else:
            headers = {"X-Repo-Commit": commit, "ETag": f'"{_git_hash(content)}"'}
            if name.endswith(LARGE):
                headers |= {"X-Linked-Etag": f'"{_sha256(content)}"', "X-Linked-Size": str(len(content))}
            if fault == "xet-away":
                door = f'<{self.hub.elsewhere}/api/datasets/org/data/xet-read-token/{commit}>; rel="xet-auth"'
                headers |= {"X-Xet-Hash": _sha256(content), "Link": door}
            if fault == "away":  # for a HEAD: as the hub sends its clients to where large files are kept
                self._head(302, headers | {"Location": f"{self.hub.elsewhere}{self.path}", "Content-Length": "0"})
                return
            if fault == "warns":
                said = f"\x1b[31mtoken; you are {self.headers.get('Authorization')} {self.hub.elsewhere}"
                headers |= {"X-HF-Warning": said}
            self._body(content, headers | {key: self.hub.names[key] for key in headers if key in self.hub.names}, fault)

    def _refused(self, repo: _Repo) -> bool:
        """Refuse a gated repository as the hub does: 401 to the unknown, 403 to those who have not been let in."""
        if repo.gated:
            status = 403 if "Authorization" in self.headers else 401
            self._json(status, {"error": "Access is restricted"}, {"X-Error-Code": "GatedRepo"})
        return repo.gated

    def _json(self, status: int, answer: Any, headers: Mapping[str, str] | None = None) -> None:
        if "error" in answer:  # as a careless server would: the client must not pass it on
            answer = {"error": f"{answer['error']} (you sent {self.headers.get('Authorization')})"}
        content = json.dumps(answer).encode()
        self._head(status, {"Content-Type": "application/json", "Content-Length": str(len(content)), **(headers or {})})
        if self.command != "HEAD":
            self.wfile.write(content)

    def _body(self, content: bytes, headers: Mapping[str, str], fault: Any) -> None:
        if fault == "corrupt" and self.command == "GET":
            content = bytes(byte ^ 1 for byte in content)
        if fault == "short" and self.command == "GET":
            content = content[: len(content) // 2]
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if asked and fault is None and self.command == "GET":
            first = int(asked[1])
            part = content[first : int(asked[2]) + 1 if asked[2] else None]
            span = {"Content-Range": f"bytes {first}-{first + len(part) - 1}/{len(content)}"}
            self._head(206, {**headers, **span, "Content-Length": str(len(part))})
            self.wfile.write(part)
            return
        self._head(200, {**headers, "Accept-Ranges": "bytes", "Content-Length": str(len(content))})
        if self.command == "HEAD":
            return
        self.wfile.write(content[: len(content) // 2] if fault in ("stall", "truncate") else content)
        self.wfile.flush()
        if fault == "stall":
            self._fall_silent()
        self.close_connection = self.close_connection or fault == "truncate"

    def _fall_silent(self) -> None:
        self.close_connection = True
        self.hub._closing.wait(60)

    def _head(self, status: int, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.end_headers()


def _card_faults(card: str) -> str:
    """What the hub would say against a card's ``model-index``; nothing if it takes it."""
    for model in yaml.safe_load(card.split("---")[1])["model-index"]:
        for result in model["results"]:
            if not result["task"].get("type") or not {"name", "type"} <= result["dataset"].keys():
                return "a result needs task.type, dataset.type and dataset.name"
            for metric in result["metrics"]:
                if not metric.get("type") or not isinstance(metric.get("value"), float):
                    return f"metric {metric.get('name')} needs a type and a number"
    return ""


def _sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _git_hash(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _commit_of(files: Files) -> str:
    return hashlib.sha1("".join(f"{path} {_sha256(files[path])}\n" for path in sorted(files)).encode()).hexdigest()


def _entry(path: str, content: bytes) -> dict[str, Any]:
    large = {"lfs": {"oid": _sha256(content), "size": len(content), "pointerSize": 134}} if path.endswith(LARGE) else {}
    return {"type": "file", "path": path, "size": len(content), "oid": _git_hash(content), **large}


# What to put on it.

PEOPLE = ("Le voisin", "La boulangère", "Un marin", "Mon oncle", "La géomètre", "Le facteur", "Une élève", "Le garde")
PLACES = ("au marché", "devant la gare", "sous le préau", "près du canal", "à la mairie", "dans la cour")
ACTIONS = (
    "vend des poires",
    "répare un vélo",
    "lit le journal",
    "chante une valse",
    "range les chaises",
    "attend",
)
TIMES = ("ce matin", "chaque jeudi", "avant l'orage", "après le repas", "en hiver")


def sentences(seed: int = 0) -> Iterator[str]:
    """Our own French sentences, without end; the first 1,440 of a seed differ from one another."""
    every = [
        f"{who} {does} {where} {when}." for who, does, where, when in itertools.product(PEOPLE, ACTIONS, PLACES, TIMES)
    ]
    random.Random(seed).shuffle(every)
    yield from itertools.cycle(every)


def _inside(sentence: str) -> str:
    return sentence[0].lower() + sentence[1:]


def folder_files(folder: Path) -> dict[str, bytes]:
    """A folder's files, for ``StandIn.add_repo``."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


def tiny_camembert(folder: Path, seed: int = 0) -> Path:
    """A random CamemBERT (masked-LM head, hidden size 32, 2 layers) with a tokenizer trained on our sentences."""
    import torch
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
    from tokenizers import decoders as decoding
    from transformers import CamembertConfig, CamembertForMaskedLM, PreTrainedTokenizerFast

    special = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"]
    tokenizer = Tokenizer(models.Unigram())
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.decoder = decoding.Metaspace()
    trainer = trainers.UnigramTrainer(vocab_size=400, special_tokens=special, unk_token="<unk>", show_progress=False)
    tokenizer.train_from_iterator(itertools.islice(sentences(), 300), trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>",
        pair="<s> $A </s> </s> $B </s>",
        special_tokens=[("<s>", special.index("<s>")), ("</s>", special.index("</s>"))],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        cls_token="<s>",
        eos_token="</s>",
        sep_token="</s>",
        pad_token="<pad>",
        unk_token="<unk>",
        mask_token="<mask>",
        model_max_length=512,
    )
    torch.manual_seed(seed)
    config = CamembertConfig(
        vocab_size=len(fast),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=514,
        type_vocab_size=1,
        bos_token_id=special.index("<s>"),
        pad_token_id=special.index("<pad>"),
        eos_token_id=special.index("</s>"),
    )
    CamembertForMaskedLM(config).save_pretrained(folder)
    fast.save_pretrained(folder)
    return folder


def parquet(columns: Mapping[str, list[Any]]) -> bytes:
    """A parquet file of these columns."""
    import pyarrow as pa
    from pyarrow import parquet as pq

    buffer = io.BytesIO()
    pq.write_table(pa.table(dict(columns)), buffer)
    return buffer.getvalue()


def xnli_files(train: int = 48, validation: int = 18, test: int = 18) -> dict[str, bytes]:
    """``facebook/xnli``: premise, hypothesis, label (0 entailment, 1 neutral, 2 contradiction)."""

    def rows(count: int, seed: int) -> dict[str, list[Any]]:
        premises = list(itertools.islice(sentences(seed), count))
        hypotheses = [
            (premise, f"On dit que cela arrive souvent : {index}.", f"C'est faux : {_inside(premise)}")[index % 3]
            for index, premise in enumerate(premises)
        ]
        return {"premise": premises, "hypothesis": hypotheses, "label": [index % 3 for index in range(count)]}

    counts = {"train": train, "validation": validation, "test": test}
    return {
        f"fr/{split}-00000-of-00001.parquet": parquet(rows(count, seed))
        for seed, (split, count) in enumerate(counts.items())
    }


def pawsx_files(train: int = 48, validation: int = 16, test: int = 16) -> dict[str, bytes]:
    """``google-research-datasets/paws-x``: id, sentence1, sentence2, label (1 paraphrase)."""

    def rows(count: int, seed: int) -> dict[str, list[Any]]:
        first = list(itertools.islice(sentences(seed + 10), count))
        second = [
            f"{('Il est faux de dire ceci', 'Disons-le')[index % 2]} : {_inside(one)}"
            for index, one in enumerate(first)
        ]
        labels = [index % 2 for index in range(count)]
        return {"id": list(range(1, count + 1)), "sentence1": first, "sentence2": second, "label": labels}

    counts = {"train": train, "validation": validation, "test": test}
    return {
        f"fr/{split}-00000-of-00001.parquet": parquet(rows(count, seed))
        for seed, (split, count) in enumerate(counts.items())
    }


def wikiner_files(train: int = 48, test: int = 16) -> dict[str, bytes]:
    """``Jean-Baptiste/wikiner_fr``: id, tokens, ner_tags (0 O, 1 LOC, 2 PER, 3 MISC, 4 ORG), without validation."""
    people = (("Jeanne", "Morvan"), ("Luc", "Tissier"), ("Odile", "Brac"))
    places = (("Valmorin",), ("Saint-Auvent",), ("Port", "Grenet"))
    works = (("Les", "Heures", "Bleues"), ("Le", "Petit", "Pont"))
    firms = (("Rochebrune", "SA"), ("Brunet", "et", "Frères"))

    def rows(count: int, seed: int) -> dict[str, list[Any]]:
        draw = random.Random(seed)
        tokens, tags = [], []
        for index in range(count):
            parts = (
                (draw.choice(people), 2),
                (("dirige",), 0),
                (draw.choice(firms), 4),
                (("à",), 0),
                (draw.choice(places), 1),
                (("et", "publie"), 0),
                (draw.choice(works), 3),
                (("en", str(1700 + 150 * seed + index), "."), 0),
            )
            tokens.append([word for words, _ in parts for word in words])
            tags.append([tag for words, tag in parts for _ in words])
        return {"id": [str(index) for index in range(count)], "tokens": tokens, "ner_tags": tags}

    return {
        "data/train-00000-of-00001.parquet": parquet(rows(train, 0)),
        "data/test-00000-of-00001.parquet": parquet(rows(test, 1)),
    }


def cls_merged_files(train: int = 144, test: int = 48) -> dict[str, bytes]:
    """The branch refs/convert/parquet of ``GETALP/flue``, configuration CLS: text, label, idx."""

    def rows(count: int, seed: int) -> dict[str, list[Any]]:
        texts = itertools.islice(sentences(seed + 40), count)
        opinions = ("Une vraie déception, à éviter.", "Un plaisir rare, je recommande.")
        labels = [index % 2 for index in range(count)]
        return {
            "text": [f"{text} {opinions[label]}" for text, label in zip(texts, labels, strict=True)],
            "label": labels,
            "idx": list(range(count)),
        }

    return {"CLS/train/0000.parquet": parquet(rows(train, 0)), "CLS/test/0000.parquet": parquet(rows(test, 1))}


def cls_archive(train: int = 48, test: int = 16) -> bytes:
    """``cls-acl10-unprocessed.tar.gz``: books, dvd, music, ``train`` and ``test`` reviews each, half of them kind."""
    shelves = {"books": "Livres", "dvd": "DVD", "music": "Musique"}

    def review(index: int, scene: str, seed: int, shelf: str) -> str:
        kind = index % 2 == 0
        opinion = "Un plaisir rare, je recommande" if kind else "Une vraie déception, à éviter"
        rating = (5.0, 1.0, 4.0, 2.0)[index % 4]
        return (
            f"<item><category>{shelf}</category><rating>{rating}</rating><asin>{seed:04d}{index:06d}</asin>"
            f"<url>http://example.org/{index}/</url><text>{escape(f'{opinion} & rien de plus. {scene}')}</text>"
            f"<title>Titre {index}</title><summary>{'Très bien' if kind else 'Trop long'}</summary>"
            "<date>1 mars 2009</date><location>France</location><helpfulness_votes><value>1</value><value>2</value>"
            "</helpfulness_votes><reviewer>Lectrice</reviewer><badges /></item>"
        )

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as archive:
        for number, (name, shelf) in enumerate(shelves.items()):
            for split, count in (("train", train), ("test", test)):
                seed = 100 + 2 * number + (split == "test")
                scenes = enumerate(itertools.islice(sentences(seed), count))
                items = "\n\n\n".join(review(index, scene, seed, shelf) for index, scene in scenes)
                content = f'<?xml version="1.0" encoding="utf-8"?>\n<items>{items}\n\n</items>'.encode()
                member = tarfile.TarInfo(f"cls-acl10-unprocessed/fr/{name}/{split}.review")
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()
