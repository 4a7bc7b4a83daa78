"""Lay out the pages of the site: README.md, docs/ and whatever they link to, and the pages that are generated.

    python -m benchmarks.makers.site build/pages

Files keep their places, so that a link is right in the checkout and on the site alike. The command line, the record's
schema and the index of results are made from what they describe.
"""

from __future__ import annotations

import argparse
import ast
import json
import os
import re
import shutil
from itertools import pairwise
from pathlib import Path
from textwrap import dedent
from typing import Any

import typer
from typer.cli import get_docs_for_click

from benchmarks.common import ROOT
from flue_bench import cli
from flue_bench.recipe import Recipe
from flue_distill.training.recipe import DistilRecipe

LINK = re.compile(r"\]\(([^)\s#]+)(?:#[^)\s]*)?\)")
CODE = re.compile(r"^```.*?^```$|`[^`\n]+`", re.MULTILINE | re.DOTALL)


def links(text: str) -> list[str]:
    """The relative addresses that a page of Markdown links to, code left out."""
    return [found for found in LINK.findall(CODE.sub("", text)) if not re.match(r"[a-z]+:", found)]


def command_line() -> str:
    """Return every command with its arguments and options, as ``--help`` has them."""
    cli.add_plugins()
    command = typer.main.get_command(cli.app)
    said = get_docs_for_click(obj=command, ctx=typer.Context(command), name="flue-bench", title="Command line")
    said = re.sub(r"(?m)^(#+) `flue-bench (.*)`$", r"\1 \2", said)
    said = re.sub(r"docs/([\w/-]+\.md)", r"[docs/\1](\1)", said)
    return re.sub(
        r"(?m)^Examples:\n((?:    .*\n)+)", lambda block: f"**Examples**:\n\n```sh\n{dedent(block[1])}```\n", said
    )


def record_schema() -> str:
    """Return the fields of a record, as tables."""
    schema = json.loads((ROOT / "results/schema/run-record.v2.json").read_text(encoding="utf-8"))
    parts = [
        "# Record schema",
        "The fields of `results/runs/MODEL/TASK/seedK-DIGEST.json`. The same as JSON schema: "
        "[version 2](../results/schema/run-record.v2.json), [version 1](../results/schema/run-record.v1.json).",
    ]
    said = _docstrings()
    for name, model in {"RunRecord": schema, **schema["$defs"]}.items():
        rows = [
            f"| `{field}` | {_type(of)} | {said.get((name, field), '')} |" for field, of in model["properties"].items()
        ]
        parts += [f"## {name}", model.get("description", ""), "\n".join(["| field | type | |", "|---|---|---|", *rows])]
    return "\n\n".join(part for part in parts if part) + "\n"


def _docstrings() -> dict[tuple[str, str], str]:
    """Class and field → the docstring below the field."""
    found = {}
    for file in ("record", "recipe", "search"):
        tree = ast.parse((ROOT / f"flue_bench/{file}.py").read_text(encoding="utf-8"))
        for each in (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef)):
            for field, below in pairwise(each.body):
                if isinstance(field, ast.AnnAssign) and isinstance(below, ast.Expr):
                    text = ast.literal_eval(below.value)
                    found[each.name, ast.unparse(field.target)] = " ".join(text.replace("``", "`").split())
    return found


def _type(of: dict[str, Any]) -> str:
    if "$ref" in of:
        name = of["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "anyOf" in of:
        return " or ".join(dict.fromkeys(map(_type, of["anyOf"])))
    if "enum" in of or "const" in of:
        return " or ".join(f"`{json.dumps(value)}`" for value in of.get("enum", [of.get("const")]))
    if of.get("type") == "array":
        inner = of.get("items") or (of.get("prefixItems") or [{}])[0]
        return f"list of {_type(inner)}" if inner else "list"
    if of.get("type") == "object":
        inner = of.get("additionalProperties")
        return f"table of {_type(inner)}" if isinstance(inner, dict) and inner else "table"
    return str(of.get("type", "any"))


def recipe_fields() -> str:
    """Return the fields of both recipes, as tables: docs/recipe-fields.md, which a test compares with this.

    Unlike the other pages of this file it is committed: pages of the checkout link to it.
    """
    parts = [
        "# Fields of a recipe",
        "What `--set KEY=VALUE` changes for one command, and what a file says as `KEY = VALUE`. A recipe may have\n"
        "other values than these defaults: `flue-bench tasks show TASK` prints those of a task in full, and\n"
        "a student's `distillation.json` holds the one it was made by. [Recipes and tuning](tuning.md) and\n"
        "[distilling](distillation.md) explain what they are for.",
    ]
    for title, said, model in (
        ("Fine-tuning", "Of `flue-bench run`, and of `[recipe.NAME]` in a task file.", Recipe),
        ("Distilling", "Of `flue-bench distill` and its recipe files.", DistilRecipe),
    ):
        rows = [
            f"| `{name}` | {_type(of).removesuffix(' or null')} | {_default(of.get('default'))} | {of['description']} |"
            for name, of in model.model_json_schema()["properties"].items()
        ]
        parts += [f"## {title}", said, "\n".join(["| field | type | default | |", "|---|---|---|---|", *rows])]
    return "\n\n".join(parts) + "\n"


def _default(value: Any) -> str:
    if value is None or value == []:
        return "none"
    return f"`{','.join(map(str, value)) if isinstance(value, list) else str(value).lower()}`"


def measured_results() -> str:
    """Return an index of the committed pages of results."""
    parts = [
        "# Measured results",
        "Every committed page of figures. What each is, and the command that made it: [results](../results/README.md).",
    ]
    pages = sorted((ROOT / "results").rglob("*.md"))
    rows = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        where = page.relative_to(ROOT / "results").as_posix()
        title = text.splitlines()[0].lstrip("# ") if text.startswith("# ") else f"Board of `{Path(where).parent}`"
        rows.append(f"- [{title}](../results/{where})")
    return "\n\n".join([*parts, "\n".join(rows)]) + "\n"


def lay_out(folder: Path) -> None:
    """Fill a folder with the pages, and with everything that they link to.

    Raises:
        SystemExit: a link leads nowhere.
    """
    generated = {
        "docs/command-line.md": command_line,
        "docs/record-schema.md": record_schema,
        "docs/measured-results.md": measured_results,
    }
    shutil.rmtree(folder, ignore_errors=True)
    docs = (path.relative_to(ROOT).as_posix() for path in sorted((ROOT / "docs").rglob("*.md")))
    waiting, seen, dead = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", *docs, *generated], set[str](), []
    while waiting:
        name = waiting.pop()
        if name in seen:
            continue
        seen.add(name)
        to = folder / name
        to.parent.mkdir(parents=True, exist_ok=True)
        if name in generated:
            to.write_text(generated[name](), encoding="utf-8")
        else:
            shutil.copyfile(ROOT / name, to)
        if to.suffix != ".md":
            continue
        for link in links(to.read_text(encoding="utf-8")):
            target = os.path.normpath(Path(name).parent / link)
            if target in generated or (ROOT / target).is_file():
                waiting.append(target)
            else:
                dead.append(f"{name}: {link}")
    if dead:
        raise SystemExit("No such file:\n" + "\n".join(dead))


def main() -> None:
    """Lay the pages out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, help="is emptied first")
    lay_out(parser.parse_args().folder)


if __name__ == "__main__":
    main()
