"""``flue-bench doctor``: in a process of its own, well and ill in every way that it knows."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from flue_bench.jobs import doctor
from flue_bench.plugins import Finding
from support.command_line import in_a_process, no_network
from support.hub_standin import StandIn

TOKEN = "hf_" + "SecretSecretSecretSecret"


def examined(env: dict[str, str], cwd: Path, *words: str) -> tuple[int, dict[str, tuple[str, str]]]:
    """Exit code, and what is said: name → state, and finding and advice as one line."""
    # A wide page keeps each finding on a line.
    done = in_a_process("doctor", *words, cwd=cwd, env=env | {"COLUMNS": "1000"})
    assert "Traceback" not in done.stderr and TOKEN not in done.stdout + done.stderr
    lines = re.findall(r"^(ok|note|problem) +(.+?)  +(.*?) *$(?:\n +(→ .*?) *$)?", done.stdout, re.MULTILINE)
    findings: dict[str, tuple[str, str]] = {}
    for state, name, said, advice in lines:  # of one name there may be several, all of one state
        before = f"{findings[name][1]}\n" if name in findings else ""
        findings[name] = (state, f"{before}{said} {advice}".strip())
    return done.returncode, findings


def test_a_machine_that_is_well(tmp_path: Path) -> None:
    with StandIn() as hub:
        env = hub.env(tmp_path) | {"HF_TOKEN": TOKEN, "OMP_NUM_THREADS": "1"}
        (tmp_path / "D").mkdir()
        (tmp_path / "D" / "cls-acl10-unprocessed.tar.gz").write_bytes(b"")
        env |= {"FLUE_BENCH_DATA": str(tmp_path / "D")}
        (tmp_path / "hf").mkdir()
        (tmp_path / "hf" / "blob").write_bytes(bytes(1500))
        code, findings = examined(env, tmp_path)
    assert code == 0, findings
    assert {state for state, _ in findings.values()} <= {"ok", "note"}
    assert findings["hub"] == ("ok", f"{hub.endpoint} answers")
    assert findings["hub token"] == ("ok", "present")
    assert findings["HF_HOME"][1].startswith(f"{tmp_path / 'hf'}, 1.5 kB, ")
    assert "not there yet" in findings["FLUE_BENCH_CACHE"][1] and not (tmp_path / "flue-bench").exists()
    assert "torch 2." in findings["packages"][1] and "ruff" not in findings["packages"][1]
    assert findings["threads"][1].startswith("1 on ")
    assert findings["precision"][1].startswith(("fp32: ", "bf16: "))
    assert findings["data"][1].startswith("on this machine: cls-books, cls-dvd, cls-merged, cls-music, mini-choices")
    assert findings["data on request"][1].startswith("fquad → Ask for FQuAD")


def test_no_network_is_a_note_and_data_to_ask_for_are_named(tmp_path: Path) -> None:
    code, findings = examined(no_network(tmp_path), tmp_path)
    assert code == 0
    state, said = findings["hub"]
    assert state == "note" and "out of reach" in said and "→ Check the network" in said
    assert findings["hub token"][1].startswith("none")
    state, said = findings["data"]
    assert state == "ok" and said.startswith("on this machine: mini-choices, ")
    assert said.endswith("sick-fr, sick-nli-fr, stsb-fr, ud-gsd, ud-partut, ud-rhapsodie, ud-sequoia, wikiner, xnli")
    state, said = findings["data on request"]
    assert state == "note" and said.startswith("cls-books, cls-dvd, cls-merged, cls-music → Zenodo gives")
    assert "\nfquad → Ask for FQuAD" in said
    assert "https://zenodo.org/records/3251672" in said and "D/cls-acl10-unprocessed.tar.gz" in said


def test_what_is_broken_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    env = no_network(tmp_path) | {
        "HF_HUB_OFFLINE": "1",
        "HF_HOME": str(tmp_path / "file" / "hf"),
        "FLUE_BENCH_DATA": str(tmp_path / "nowhere"),
    }
    code, findings = examined(env, tmp_path, "--results", str(tmp_path / "file"))
    assert code == 1
    for name, setting in (("HF_HOME", "HF_HOME"), ("results", "--results")):
        state, said = findings[name]
        assert state == "problem" and "cannot be written (Not a directory)" in said and setting in said
    assert findings["FLUE_BENCH_DATA"][0] == "problem" and "no such folder" in findings["FLUE_BENCH_DATA"][1]
    assert findings["FLUE_BENCH_CACHE"][0] != "problem"
    assert findings["hub"][0] == "note" and "HF_HUB_OFFLINE" in findings["hub"][1]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only to root")
def test_a_read_only_cache_serves_where_the_network_is_switched_off(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    states = [doctor._folder("x", tmp_path, "X", may_be_read_only=readable).state for readable in (True, False)]
    tmp_path.chmod(0o700)
    assert states == ["note", "problem"]


@pytest.mark.parametrize(("free", "state"), [(1e8, "problem"), (1e9, "note"), (1e12, "ok")])
def test_room_on_the_disk(free: float, state: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda _: doctor.shutil._ntuple_diskusage(2e12, 0, free))
    finding = doctor._folder("results", tmp_path, "--results", may_be_read_only=False)
    assert finding.state == state and bool(finding.advice) == (state != "ok")


def test_more_threads_than_cores_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(doctor.os, "sched_getaffinity", lambda _: {0}, raising=False)
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        threads = {finding.what: finding for finding in doctor._machine()}["threads"]
    finally:
        torch.set_num_threads(before)
    assert threads.state == "note" and threads.found == "2 on 1 cores" and "OMP_NUM_THREADS=1" in threads.advice


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    listed = ["flue-bench-absente>=1", "torch>=2.6", 'ruff-absent>=0.9; extra == "dev"']
    monkeypatch.setattr(doctor, "requires", lambda _: listed)
    expected = Finding("problem", "packages", "missing: flue-bench-absente", "Install flue-bench again.")
    assert doctor._packages() == expected


def test_a_torch_that_cannot_be_imported_is_a_finding(tmp_path: Path) -> None:
    (tmp_path / "torch.py").write_text("raise OSError('libtorch_cpu.so: cannot open shared object file')\n")
    code, findings = examined(no_network(tmp_path) | {"PYTHONPATH": str(tmp_path)}, tmp_path)
    assert code == 1
    state, said = findings["torch"]
    assert state == "problem" and "libtorch_cpu.so" in said and "→ Install torch again" in said
