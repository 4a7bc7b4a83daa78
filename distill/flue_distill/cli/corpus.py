"""``flue-bench corpus`` turns texts into token shards."""

from __future__ import annotations

import inspect
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from flue_bench.errors import counted

if TYPE_CHECKING:
    from flue_distill.corpus.shards import Manifest


def corpus(
    inputs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="TEXTS…",
            show_default=False,
            help="Files (.txt, .jsonl, plain or .gz, .xz, .bz2, .zst; .parquet), folders, globs, or data sets of "
            "the hub, which are streamed: hub:org/name, with @revision and :part if needed, such as "
            "hub:wikimedia/wikipedia:20231101.fr.",
        ),
    ] = None,
    tokenizer: Annotated[
        str | None,
        typer.Option(
            "--tokenizer",
            "-t",
            show_default=False,
            help="Hub id (org/name or org/name@revision), folder, or embedded:NAME.",
        ),
    ] = None,
    *,
    out: Annotated[Path, typer.Option("--out", "-o", help="The folder to write.")],
    field: Annotated[str, typer.Option(help="The field that holds a row's text (OSCAR 23.01: content).")] = "text",
    lines: Annotated[
        bool,
        typer.Option(
            "--lines", help="Read each line of a .txt file as a document; by default blank lines separate them."
        ),
    ] = False,
    processes: Annotated[
        int | None, typer.Option(min=1, show_default="one per core", help="Number of processes that tokenise.")
    ] = None,
    held_out: Annotated[
        float, typer.Option(min=0, max=0.5, help="Share of the documents to keep from training, for evaluation.")
    ] = 0.01,
    min_tokens: Annotated[int, typer.Option(min=3, help="Drop documents of fewer tokens.")] = 12,
    shard_tokens: Annotated[
        int, typer.Option(min=1, help="Tokens in a shard. After a kill, the unfinished shard is made again.")
    ] = 2**26,
    part: Annotated[
        str | None,
        typer.Option(
            metavar="K/N",
            help="Tokenise only the K-th of N parts, on one of several machines that share --out; --merge joins them.",
        ),
    ] = None,
    merge: Annotated[
        bool, typer.Option("--merge", help="Join the parts in --out to what one machine would have made, to the byte.")
    ] = False,
    workers: Annotated[
        str | None,
        typer.Option(
            metavar="N|auto",
            help="Make a part in each of several workers and join them, of --processes each; auto: one for each four "
            "cores. Needs the extra 'cluster'; see docs/clusters.md.",
        ),
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Make a part in each worker of a cluster and join them: a .toml of settings for Slurm, or a .py with "
            "a Parsl configuration, which is run as your own code.",
        ),
    ] = None,
    offline: Annotated[bool, typer.Option("--offline", help="Make no network call; use what is cached.")] = False,
) -> None:
    """Turn texts into a corpus of token shards for `flue-bench distill`.

    In a .txt file a line is a paragraph, and a blank line separates documents (or see --lines). After a kill the same
    command continues.

    Examples:
        flue-bench corpus hub:wikimedia/wikipedia:20231101.fr -t almanach/camembert-base -o corpus
        flue-bench corpus oscar --field content -t almanach/camembert-base -o corpus --part 3/8
        flue-bench corpus --merge -o corpus

    See also: distill, which trains on it. docs/distillation.md.
    """
    import flue_distill
    from flue_bench.cli.output import say
    from flue_bench.cli.settings import number_of
    from flue_bench.errors import UsageError
    from flue_bench.progress import Console, Display

    display = Display(Console(stderr=True))
    if (workers or cluster) and (part or merge):
        raise UsageError("--workers and --cluster make all parts and join them: leave --part and --merge out.")
    settings: dict[str, Any] = {
        "field": field,
        "lines": lines,
        "held_out": held_out,
        "min_tokens": min_tokens,
        "shard_tokens": shard_tokens,
    }
    if merge:
        usual = {name: inspect.signature(corpus).parameters[name].default for name in settings}
        if inputs or tokenizer or part or settings != usual:
            raise UsageError("--merge takes --out alone (and --processes): the parts say what they were made of.")
        say(_summary(flue_distill.merge_corpus(out, processes=processes, progress=display)))
        display.line(f"Corpus: {out}")
        return
    if not inputs or tokenizer is None:
        raise UsageError("corpus needs TEXTS and --tokenizer; only --merge does without.")
    settings |= {"processes": processes, "offline": offline, "progress": display}
    if part is not None:
        numbers = part.split("/")
        if len(numbers) != 2 or not all(re.fullmatch("[0-9]{1,9}", number) for number in numbers):
            raise UsageError(f"--part {part}: write K/N, such as 1/8 for the first of eight.")
        made = flue_distill.build_corpus_part(
            inputs,
            tokenizer,
            out,
            *map(int, numbers),
            **settings,
        )
        joining = shlex.join(["flue-bench", "corpus", "--merge", "--out", str(out)])
        display.line(f"Part: {made}   When all are made: {joining}")
        return
    manifest = flue_distill.build_corpus(
        inputs,
        tokenizer,
        out,
        workers=number_of(workers),
        cluster=cluster,
        **settings,
    )
    say(_summary(manifest))
    if held_out and not manifest.held_out_documents:
        display.line(
            f"No document fell into the held-out share of {held_out:g}: distill will show no held-out scores. More "
            "documents, or a larger --held-out with another --out, would change that."
        )
    display.line(f"Corpus: {out}   {_next(tokenizer, offline, out, manifest.tokens)}")


def _next(name: str, offline: bool, out: Path, tokens: int) -> str:
    """Return the command that trains on the corpus, with the tokenizer's own model as teacher if it is a masked LM."""
    from flue_bench.data.model_files import BIN, SAFETENSORS, matching
    from flue_bench.training import models
    from flue_bench.training.folder import read_json
    from flue_distill.api import tokenizer_folder
    from flue_distill.training.recipe import DistilRecipe

    words = ["flue-bench", "distill", "--corpus", str(out), "--out", f"{out}-student"]
    folder, names = tokenizer_folder(name, offline)
    made_for = read_json(folder / "config.json").get("architectures") or ()
    if not matching(names, (*SAFETENSORS, *BIN)) or "MaskedLM" not in str(made_for):
        return f"Train on it with a model of this tokenizer: {shlex.join(words)} --teacher MODEL"
    usual = DistilRecipe().length
    length = min(usual, models.max_positions(models.read_config(folder, name)) or usual, max(tokens // 2, 8))
    if length < usual:
        words += ["--set", f"length={length}"]
    return f"Train on it: {shlex.join([*words, '--teacher', name])}"


def _summary(manifest: Manifest) -> str:
    dropped = ", ".join(f"{number:,} {reason.replace('_', ' ')}" for reason, number in manifest.dropped.items())
    return (
        f"{manifest.text_bytes / 1e6:,.1f} MB of text: {counted(manifest.documents, 'document')}, "
        f"{counted(manifest.tokens, 'token')} to train on; {counted(manifest.held_out_documents, 'document')}, "
        f"{counted(manifest.held_out_tokens, 'token')} held out\n"
        f"dropped: {dropped}\n"
        f"{counted(len(manifest.shards), 'shard')} of {manifest.dtype}, digest {manifest.digest}"
    )
