"""Files that describe a cluster, and what is said before a grid runs."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest
import torch

from flue_bench.errors import UsageError
from flue_bench.jobs import cluster
from flue_bench.jobs.cluster import Slurm
from flue_bench.jobs.forecast import assumed_noise, filled, hours, known_seconds, shape, smallest
from flue_bench.jobs.grid import settle
from flue_bench.jobs.workers import Workers
from flue_bench.results.store import Store
from support import ROOT
from support.command_line import done, refused
from support.factories import make_record

EXAMPLES = ROOT / "examples" / "clusters"
LEAST = 'scheduler = "slurm"\ntime = "1-02:03:04"\ncores_per_node = 8\n'


def written(folder: Path, text: str) -> Path:
    (folder / "c.toml").write_text(text)
    return folder / "c.toml"


def test_what_a_file_says(tmp_path: Path) -> None:
    least = cluster.load(written(tmp_path, LEAST))
    assert isinstance(least, Slurm)
    assert (least.workers, least.nodes, least.retries, least.walltime) == (1, 1, 2, "26:03:04")
    assert least.options == "#SBATCH --signal=TERM@120"
    gpus = cluster.load(written(tmp_path, f'{LEAST}gpus_per_node = 4\ndirectives = ["--signal=TERM@600", "--mem=0"]\n'))
    assert isinstance(gpus, Slurm)
    assert gpus.workers == 4 and gpus.options == "#SBATCH --signal=TERM@600\n#SBATCH --mem=0"
    as_gres = cluster.load(written(tmp_path, f'{LEAST}gpus_per_node = 4\ndirectives = ["--gres=gpu:v100:4"]\n'))
    assert isinstance(as_gres, Slurm) and as_gres.asks_for_gpus and as_gres.workers == 4 and not gpus.asks_for_gpus
    (tmp_path / "bom.toml").write_text(f"\ufeff{LEAST}", encoding="utf-8")
    assert cluster.load(tmp_path / "bom.toml") == least
    twice = cluster.load(written(tmp_path, f"{LEAST}gpus_per_node = 4\nworkers_per_node = 8\n"))
    assert isinstance(twice, Slurm) and twice.workers == 8


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("scheduler = [", "is not TOML"),
        (LEAST.replace("slurm", "pbs"), "field 'scheduler': it has to be 'slurm'"),
        (LEAST.replace("1-02:03:04", "soon"), "field 'time': it has to be HH:MM:SS or D-HH:MM:SS"),
        (f"{LEAST}gpu_per_node = 4\n", "field 'gpu_per_node': not known here. Did you mean gpus_per_node"),
        (LEAST.replace('"1-02:03:04"', "12:00:00"), "field 'time': it has to be HH:MM:SS or D-HH:MM:SS, in quotes"),
        (LEAST.replace('"1-02:03:04"', "720"), "field 'time': it has to be HH:MM:SS or D-HH:MM:SS, in quotes"),
        (f'{LEAST}qos = "gpu"\n', r'Other options of sbatch go to directives = \["--qos=…"\]'),
        (f'{LEAST}directives = ["--nodes=2"]\n', "field 'directives.0': --nodes is said by nodes"),
        (f'{LEAST}directives = ["--mem=0", "--cpus-per-task 4"]\n', "'directives.1': --cpus-per-task is said by cores"),
        (f'{LEAST}directives = ["--array=0-3"]\n', "--array cannot be yours: a job is one task"),
        (f'{LEAST}directives = ["--output=x"]\n', "--output cannot be yours"),
        (f'{LEAST}directives = ["--signal=USR1@60"]\n', "it has to be --signal=TERM@SECONDS"),
        (f'{LEAST}directives = ["--signal=B:TERM@60"]\n', "it has to be --signal=TERM@SECONDS"),
        (f'{LEAST}directives = ["--gres=gpu:2"]\n', "say gpus_per_node too"),
        (f'{LEAST}directives = ["mem=4G"]\n', "field 'directives.0'"),
        (f'{LEAST}directives = ["--a\\nrm -r /"]\n', "field 'directives.0'"),
        (f"{LEAST}nodes = 0\n", "field 'nodes'"),
        (f"{LEAST}retries = true\n", "field 'retries'"),
        (f'{LEAST}partition = "gpu\\nrm"\n', "field 'partition'"),
        (f'{LEAST}account = ""\n', "field 'account': it has to be one word"),
        (LEAST.replace("1-02:03:04", "01:99:00"), "field 'time'"),
        (LEAST.replace("1-02:03:04", "00:00:00"), "at least 5 minutes"),
        (f"{LEAST}workers_per_node = 9\n", "9 workers need 9 cores, and cores_per_node is 8"),
        (f"{LEAST}workers_per_node = 4\nthreads = 4\n", "4 workers of 4 threads need 16 cores"),
        ('scheduler = "slurm"\n', "missing"),
    ],
)
def test_files_that_are_refused(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=said.replace(".", r"\.")):
        cluster.load(written(tmp_path, text))
    with pytest.raises(UsageError, match=r"a \.toml file of settings, or a \.py file"):
        cluster.load(tmp_path / "c.yaml")
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        cluster.load(tmp_path / "none.toml")


@pytest.mark.parametrize("file", sorted(EXAMPLES.glob("*.toml")), ids=lambda file: file.name)
def test_our_examples_for_slurm(file: Path) -> None:
    read = cluster.load(file)
    assert isinstance(read, Slurm) and read.nodes > 1 and read.workers > 1


@pytest.mark.parametrize("name", ["kubernetes.py", "pbs.py"])
def test_our_examples_of_configurations_are_parsed_and_say_that_they_were_not_run(name: str) -> None:
    text = (EXAMPLES / name).read_text(encoding="utf-8")
    tree = ast.parse(text)
    assert "not run" in " ".join((ast.get_docstring(tree) or "").split())
    pytest.importorskip("parsl", reason="the extra 'cluster' is not installed")
    import parsl.addresses
    import parsl.executors
    import parsl.launchers
    import parsl.providers

    for node in ast.walk(tree):  # every name that it imports is there, and every argument one that is taken
        if isinstance(node, ast.ImportFrom):
            module = __import__(str(node.module), fromlist=["x"])
            assert all(hasattr(module, alias.name) for alias in node.names)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.keywords:
            import inspect

            places = (parsl.providers, parsl.executors, parsl.launchers, parsl.config)
            taken = next(getattr(place, node.func.id) for place in places if hasattr(place, node.func.id))
            names = inspect.signature(inspect.unwrap(taken.__init__)).parameters
            assert {str(word.arg) for word in node.keywords} <= set(names), node.func.id


def test_scripts_give_their_steps_the_cores_that_they_ask_for() -> None:
    """Since Slurm 22.05 ``srun`` gives a step one core, whatever ``sbatch`` was asked for, and nothing says so."""
    pages = [*ROOT.glob("docs/**/*.md"), *ROOT.glob("examples/**/*.sbatch")]
    scripts = [each for page in pages for each in re.split("```|~~~", page.read_text(encoding="utf-8"))]
    asking = [each for each in scripts if "#SBATCH" in each and "--cpus-per-task" in each and "srun " in each]
    assert len(asking) >= 3
    assert [each for each in asking if "export SRUN_CPUS_PER_TASK=" not in each.partition("\nsrun ")[0]] == []


def test_a_configuration_of_the_users_own(tmp_path: Path) -> None:
    pytest.importorskip("parsl", reason="the extra 'cluster' is not installed")
    file = tmp_path / "own.py"
    htex = "from parsl.executors import HighThroughputExecutor as E\n"
    file.write_text(f"from parsl.config import Config\n{htex}config = Config(executors=[E(address='127.0.0.1')])\n")
    assert cluster.load(file) == file
    assert len(cluster.configuration(file).executors) == 1
    file.write_text("from parsl.config import Config\nconfig = Config()\n")
    with pytest.raises(UsageError, match="is of threads, and a cell needs a process"):
        cluster.configuration(file)
    file.write_text("raise SystemExit(3)\n")
    with pytest.raises(UsageError, match="SystemExit: 3"):
        cluster.configuration(file)
    file.write_text("config = 3\n")
    with pytest.raises(UsageError, match=r"its name 'config' is 3, not a parsl\.Config"):
        cluster.configuration(file)
    file.write_text("1 / 0\n")
    with pytest.raises(UsageError, match="ZeroDivisionError: division by zero"):
        cluster.configuration(file)


def test_a_cluster_wants_a_precision(tmp_path: Path) -> None:
    pytest.importorskip("parsl", reason="the extra 'cluster' is not installed")
    file = written(tmp_path, LEAST)
    said = refused("run", "-m", "embedded:untrained", "-t", "mini-cls", "--cluster", file, "--results", tmp_path / "r")
    assert "give --precision bf16, fp16 or fp32" in said


@pytest.mark.parametrize("asked", ["fp32", "bf16", "fp16"])
def test_cells_of_a_cluster_have_the_precision_that_was_asked_for(asked: str, tmp_path: Path) -> None:
    workers = Workers(cluster=cluster.load(written(tmp_path, LEAST)))
    model: Any = None  # whatever it is, and whatever this machine has
    assert settle(asked, workers, model, torch.device("cpu")).precision == asked


def test_cells_fill_workers() -> None:
    assert filled([4, 3, 2, 1], 1) == filled([10], 1)
    assert filled([3, 3, 2, 2, 2], 2).seconds == 7 and filled([3, 3, 2, 2, 2], 2).idle == pytest.approx(1 / 7)
    assert filled([5, 1, 1], 8).seconds == 5 and filled([], 4).idle == 0
    assert filled([1, 1, 1, 9], 2).seconds > filled([9, 1, 1, 1], 2).seconds


def test_times_are_those_of_records_of_the_same_shape() -> None:
    first, second = make_record(seed=0), make_record(seed=1)
    rows = first.cell.served(first.data.rows)["train"]
    assert shape(first.cell, rows) == shape(second.cell, rows) != shape(first.cell, rows + 1)
    recipe, _ = first.cell.trained
    for changes, same in (({"learning_rate": 1e-3}, True), ({"epochs": 9}, False), ({"dropout": 0.0}, False)):
        changed = first.cell.model_copy(update={"recipe": recipe.override(changes), "scored": "validation"})
        assert (shape(changed, rows) == shape(first.cell, rows)) is same, changes
    model = first.cell.model.model_copy(update={"digest": "f" * 16, "weights_bytes": 10})
    same = first.model_copy(update={"cell": first.cell.model_copy(update={"model": model})})
    other = same.cell.model_copy(update={"model": model.model_copy(update={"digest": "e" * 16})})
    assert shape(same.cell, rows) == shape(other, rows), "other weights of the same size take as long"
    assert shape(same.cell, rows) != shape(other.model_copy(update={"limit": 7}), rows)
    known = known_seconds([same])
    assert known[shape(other, rows)] == (same.cost.seconds, same.environment.device)
    resumed = same.model_copy(update={"cost": same.cost.model_copy(update={"resumed": 1})})
    assert known_seconds([resumed]) == {}, "the time of a resumed one is that of its last part"


def test_words() -> None:
    assert [hours(seconds) for seconds in (5, 300, 7200)] == ["5 s", "5 min", "2.0 h"]
    assert "plan two at least" in smallest(assumed_noise(1000), 1)
    few, many = smallest(assumed_noise(1000), 3), smallest(assumed_noise(1000), 10)
    assert float(few.split()[0]) > float(many.split()[0]) > 0


def test_a_dry_run_says_and_leaves_nothing(tmp_path: Path) -> None:
    words = ("run", "-m", "embedded:untrained", "-t", "mini-cls", "--limit", "32", "--set", "epochs=1")
    where = ("--device", "cpu", "--results", tmp_path / "r")
    said = done(*words, *where, "--seeds", "2", "--dry-run")
    assert "2 cells: 0 have a record, 2 to run." in said and "the time is unknown" in said
    assert "2 seeds of each" in said and "assumed: seeds spread by 1 point" in said
    assert not (tmp_path / "r").exists()
    done(*words, *where)
    said = done(*words, *where, "--seeds", "2", "--dry-run")
    assert "2 cells: 1 have a record, 1 to run." in said and "Time of 1 cell:" in said
    assert len(Store(tmp_path / "r").records()) == 1
