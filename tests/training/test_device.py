"""Which device, which precision, and why."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
import torch

from flue_bench.errors import DeviceError, UsageError
from flue_bench.training import device as module
from flue_bench.training.device import (
    Device,
    environment,
    peak_memory,
    pick_device,
    prepare,
    reset_peak_memory,
    seed_step,
)
from support import ROOT

CPU, CUDA = torch.device("cpu"), torch.device("cuda", 0)


@pytest.fixture
def cuda(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pretend a number of CUDA devices, with or without native bf16."""

    def pretend(count: int, bf16: bool = True, capability: tuple[int, int] = (8, 0)) -> None:
        monkeypatch.setattr(torch.cuda, "is_available", lambda: count > 0)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: bf16)
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)

    return pretend


def test_devices_that_are_there(cuda: Any) -> None:
    cuda(0)
    assert pick_device("auto") == pick_device("cpu") == CPU
    cuda(2)
    assert pick_device("auto") == pick_device("cuda") == pick_device("cuda:0") == CUDA
    assert pick_device("cuda:1") == torch.device("cuda", 1)
    assert pick_device("cpu") == CPU


@pytest.mark.parametrize(
    ("asked", "count", "says"),
    [
        ("cuda", 0, "--device cpu"),
        ("cuda:1", 0, "no CUDA device"),
        ("cuda:2", 2, "has 2 CUDA device(s)"),
        ("tpu", 0, "use auto, cpu, cuda, cuda:N or mps"),
        ("cuda:x", 2, "use auto, cpu, cuda, cuda:N or mps"),
        ("", 0, "use auto, cpu, cuda, cuda:N or mps"),
        ("meta", 0, "not supported"),
    ],
)
def test_devices_that_are_not(cuda: Any, asked: str, count: int, says: str) -> None:
    cuda(count)
    with pytest.raises(DeviceError) as caught:
        pick_device(asked)
    assert says in str(caught.value) and (asked in str(caught.value)) and caught.value.exit_code == 2
    assert len(str(caught.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("can", "width", "chosen", "because"),
    [
        ({"avx512_bf16": True}, 768, "bf16", "wide"),
        ({"amx_bf16": True}, 384, "bf16", "wide"),
        ({"avx512_bf16": True}, module.MIN_HIDDEN_FOR_CPU_BF16, "bf16", "wide"),
        ({"avx512_bf16": True}, module.MIN_HIDDEN_FOR_CPU_BF16 - 1, "fp32", "too narrow"),
        ({"avx512_bf16": True, "cpu_name": "AMD EPYC 9654"}, 768, "bf16", "wide"),
        ({"avx512_bf16": True, "amx_bf16": True, "cpu_name": "Intel Xeon"}, 768, "bf16", "wide"),
        ({"avx512_bf16": True, "amx_bf16": False, "cpu_name": "Intel Xeon"}, 768, "fp32", "without amx_bf16"),
        ({"avx2": True, "cpu_name": "Intel Xeon"}, 768, "fp32", "no avx512_bf16"),
        ({"avx2": True}, 1024, "fp32", "no avx512_bf16"),
        ({}, 1024, "fp32", "no avx512_bf16"),
    ],
)
def test_auto_on_a_cpu_is_a_function_of_hardware_and_width(
    cpu: Any, can: dict[str, Any], width: int, chosen: str, because: str
) -> None:
    cpu(**can)
    found = prepare(CPU, "auto", width)
    assert found.precision == chosen and because in found.why and f"chose {chosen}" in found.why
    assert prepare(CPU, "auto", width) == found


@pytest.mark.parametrize(("pretended", "chosen"), [("1", "bf16"), ("0", "fp32")])
def test_what_tests_pretend_of_the_cpu_holds_in_the_processes_they_start(pretended: str, chosen: str) -> None:
    code = (
        "import torch; from flue_bench.training.device import prepare; print(prepare(torch.device('cpu'), 'auto', 768))"
    )
    env = os.environ | {"PRETENDED_BF16": pretended, "PYTHONPATH": str(ROOT / "tests/support/pretended_cpu")}
    assert f"auto chose {chosen}" in subprocess.check_output([sys.executable, "-c", code], env=env, text=True)


def test_auto_on_a_gpu(cuda: Any) -> None:
    cuda(1, bf16=True)
    assert (prepare(CUDA, "auto", 64).precision, prepare(CUDA, "bf16", 64).precision) == ("bf16", "bf16")
    for capability in ((7, 0), (7, 5)):  # V100; Titan RTX
        cuda(1, bf16=False, capability=capability)
        found = prepare(CUDA, "auto", 1024)
        assert found.precision == "fp16" and "no native bf16, but fp16" in found.why
        assert prepare(CUDA, "fp16", 64).dtype == torch.float16
    cuda(1, bf16=False, capability=(6, 1))
    found = prepare(CUDA, "auto", 1024)
    assert found.precision == "fp32" and "no native bf16 and no fast fp16" in found.why
    for asked in ("bf16", "fp16"):
        with pytest.raises(DeviceError, match=f"--precision {asked}: this GPU has no native {asked}; use .*fp32"):
            prepare(CUDA, asked, 1024)


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_what_the_user_asks_for_is_not_explained(cpu: Any, asked: str) -> None:
    cpu()
    assert prepare(CPU, asked, 32) == Device(CPU, asked, "")  # type: ignore[arg-type]


@pytest.mark.parametrize("asked", ["half", "float16", "BF16", ""])
def test_what_no_precision_is(asked: str) -> None:
    """Python can say anything; it is not taken for fp32."""
    with pytest.raises(UsageError, match=f"--precision {asked}: auto, fp32, bf16 or fp16"):
        prepare(CPU, asked, 32)


@pytest.fixture
def mps(monkeypatch: pytest.MonkeyPatch) -> torch.device:
    """Pretend a Mac's GPU, of which torch knows the name only here."""
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    return pick_device("mps")


def test_mps_computes_in_fp32_and_is_said_to_be_untested(mps: torch.device) -> None:
    assert mps.type == "mps" and pick_device("auto").type != "mps"
    found = prepare(mps, "auto", 768)
    assert found.precision == prepare(mps, "fp32", 768).precision == "fp32" and "mps" in found.why
    assert found.name.endswith("(mps: not tested by us)") and found.untested and not Device(CPU, "fp32", "").untested
    made = environment(found)
    assert made.device == found.name and not made.deterministic
    with pytest.raises(DeviceError, match="mps computes in fp32 only; use --precision fp32"):
        prepare(mps, "bf16", 768)
    reset_peak_memory(mps)
    assert peak_memory(mps) > 2**20


def test_no_mps_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    for asked in ("mps", "mps:0"):
        with pytest.raises(DeviceError, match=f"--device {asked}: .* finds no MPS device.* Use --device cpu"):
            pick_device(asked)


def test_memory_where_the_system_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module.Path, "read_text", lambda *_, **__: "")
    assert peak_memory(CPU) > 2**20  # of getrusage
    monkeypatch.setitem(sys.modules, "resource", None)
    assert peak_memory(CPU) == 0


def test_autocast_multiplies_in_bf16_and_leaves_fp32_alone() -> None:
    weight = torch.eye(4)
    with Device(CPU, "bf16", "").autocast():
        assert (weight @ weight).dtype == torch.bfloat16
    with Device(CPU, "fp32", "").autocast():
        assert (weight @ weight).dtype == torch.float32
    assert weight.dtype == torch.float32


def test_each_step_has_its_own_dropout_whatever_came_before() -> None:
    def drawn(seed: int, step: int) -> tuple[float, ...]:
        seed_step(seed, step)
        return tuple(torch.rand(4).tolist())

    first = drawn(1, 10)
    torch.rand(100)
    assert drawn(1, 10) == first
    assert len({drawn(seed, step) for seed in range(4) for step in range(50)}) == 200
    drawn(2**62, 10)


def test_memory_and_environment() -> None:
    reset_peak_memory(CPU)
    assert 2**20 < peak_memory(CPU) < 2**42
    found = environment(Device(CPU, "fp32", "precision auto chose fp32: …"), ("une note",))
    assert found.notes == ("precision auto chose fp32: …", "une note")
    assert found.deterministic and found.threads == torch.get_num_threads()
    assert found.packages["torch"] == torch.__version__ and found.device
    assert environment(Device(CPU, "fp32", "")).notes == ()
    if found.commit is not None:
        assert len(found.commit) == 40 and found.dirty is not None


@pytest.mark.gpu
def test_a_real_gpu() -> None:
    if not torch.cuda.is_available():
        pytest.skip("no CUDA device")
    device = prepare(pick_device("cuda"), "auto", 768)
    reset_peak_memory(device.where)
    block = torch.ones(1024, 1024, device=device.where)
    assert peak_memory(device.where) >= block.numel() * 4
    assert device.name and "GPU" in device.why


def test_peak_memory_is_not_inherited_from_a_larger_parent() -> None:
    code = "import torch; from flue_bench.training.device import peak_memory; print(peak_memory(torch.device('cpu')))"
    large = f"import subprocess, sys; x = b'1' * 2**31; subprocess.run([sys.executable, '-c', {code!r}], check=True)"
    done = subprocess.run([sys.executable, "-c", large], capture_output=True, text=True, check=True)
    assert 50 * 2**20 < int(done.stdout) < 2**31
