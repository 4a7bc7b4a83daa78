"""Matrix products counted and timed: the operations are those of torch's counter, of fused attention too."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from flue_bench.training.device import Device
from flue_bench.training.peak import Products, product_seconds, share_of_peak

CPU = Device(torch.device("cpu"), "fp32", "")


def test_a_linear_layer_is_three_products_of_a_step() -> None:
    layer, rows = nn.Linear(8, 5), torch.randn(7, 8, requires_grad=True)
    with Products() as products:
        layer(rows).sum().backward()
    assert products.flops == 3 * 2 * 7 * 8 * 5
    assert sum(products.counts.values()) == 3


@pytest.mark.parametrize("train", [False, True])
def test_operations_are_those_of_torchs_own_counter(train: bool) -> None:
    network = nn.TransformerEncoderLayer(16, 2, 32, dropout=0.0, batch_first=True)
    rows = torch.randn(3, 5, 16, requires_grad=True)

    def work() -> None:
        with sdpa_kernel(SDPBackend.MATH):  # torch's counter does not know a CPU's fused attention
            found = network(rows)
        if train:
            found.sum().backward()

    with Products() as ours:
        work()
    with FlopCounterMode(display=False) as theirs:
        work()
    assert ours.flops == theirs.get_total_flops() > 0


def test_fused_attention_counts_as_its_products() -> None:
    rows, heads, length, size = 2, 3, 8, 4
    query, key, value = (torch.randn(rows, heads, length, size, requires_grad=True) for _ in range(3))
    one = 2 * rows * heads * length * length * size
    with Products() as forward, sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        found = F.scaled_dot_product_attention(query, key, value)
    with Products() as backward:
        found.sum().backward()
    assert (forward.flops, backward.flops) == (2 * one, 5 * one)


def test_products_keep_layout_and_type() -> None:
    left, right = torch.randn(6, 4), torch.randn(4, 5)
    with Products() as products:
        left @ right
        (right.t() @ left.t()).to(torch.bfloat16)
        left.to(torch.bfloat16) @ right.to(torch.bfloat16)
    assert {(a.stride, b.stride, a.dtype) for a, b in products.counts} == {
        ((4, 1), (5, 1), torch.float32),
        ((1, 5), (1, 4), torch.float32),
        ((4, 1), (5, 1), torch.bfloat16),
    }


def test_an_expanded_operand_can_be_made_again() -> None:
    with Products() as products:
        torch.ones(4, 1).expand(4, 3) @ torch.ones(3, 2)
    assert product_seconds(products, CPU) > 0


def test_the_share_is_of_the_time_given() -> None:
    with Products() as products:
        torch.ones(64, 64) @ torch.ones(64, 64)
    assert share_of_peak(products, 1e9, CPU) < 1e-6
