"""Conv-4 over many tasks in one pass: as `apply` to each task alone, whatever is measured, masked and turned round."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from helpers import passes_of_groups
from quickstudy.core import apply as applying
from quickstudy.core.apply import apply, in_groups
from quickstudy.nets import Conv4

GROUPS, IMAGES = 3, 6


def net_of(item: tuple[int, ...], **settings: Any) -> Conv4:
    """A small net whose normalisation is not that of the start: some of its scales are negative, one is nothing."""
    torch.manual_seed(0)
    net = Conv4(item, width=8, **settings)
    with torch.no_grad():
        for name, values in net.named_parameters():
            if values.ndim == 1:
                values.copy_(torch.randn(8) if name.endswith("weight") else 0.1 * torch.randn(8))
                values[3] = 0 if name.endswith("weight") else values[3]
    return net


@pytest.mark.parametrize("item", [(1, 28, 28), (3, 19, 21)], ids=["grey", "colour"])
@pytest.mark.parametrize(
    "settings", [{}, {"downsample": "stride"}, {"halvings": 2}], ids=["pooled", "strided", "still maps"]
)
@pytest.mark.parametrize("masked", [False, True], ids=["all", "masked"])
def test_groups_are_one_by_one(
    item: tuple[int, ...], settings: dict[str, Any], masked: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes = passes_of_groups(monkeypatch)
    net = net_of(item, **settings)
    x, queries = torch.rand(GROUPS, IMAGES, *item), torch.rand(GROUPS, 2, *item)
    x = x * torch.tensor([1.0, 3.0, 0.2])[:, None, None, None, None]  # groups that differ in what is measured
    mask = torch.ones(GROUPS, IMAGES, dtype=torch.bool)
    if masked:
        mask[0, 4:] = mask[2, 1] = False
    with torch.no_grad():
        with in_groups():
            z, found = torch.func.vmap(lambda x, mask: apply(net, None, x, mask=mask))(x, mask)
            said = torch.func.vmap(lambda x, given: apply(net, None, x, statistics=given)[0])(queries, found)
        assert passes == [GROUPS, GROUPS]
        for at in range(GROUPS):
            alone, own = apply(net, None, x[at], mask=mask[at])
            torch.testing.assert_close(z[at][mask[at]], alone[mask[at]], atol=2e-5, rtol=1e-4)
            for moments, expected in zip(found, own, strict=True):
                torch.testing.assert_close(moments.mean[at], expected.mean, atol=1e-5, rtol=1e-4)
                torch.testing.assert_close(moments.variance[at], expected.variance, atol=1e-5, rtol=1e-4)
            torch.testing.assert_close(said[at], apply(net, None, queries[at], statistics=own)[0], atol=2e-5, rtol=1e-4)


def test_one_task_is_a_group() -> None:
    net, x = net_of((1, 14, 16), halvings=3), torch.rand(4, 1, 14, 16)
    with torch.no_grad():
        expected, own = apply(net, None, x)
        with in_groups():
            z, found = apply(net, None, x)
            again, _ = apply(net, None, x, statistics=found)
    torch.testing.assert_close(z, expected, atol=2e-5, rtol=1e-4)
    torch.testing.assert_close(again, expected, atol=2e-5, rtol=1e-4)
    assert len(found) == len(own) == 4


@pytest.mark.parametrize("norm", ["transductive", "group", "none"])
def test_other_normalisations_stay_as_they_are(norm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = passes_of_groups(monkeypatch)
    net, x = Conv4((1, 16, 16), width=8, norm=norm), torch.rand(2, 3, 1, 16, 16)
    with torch.no_grad(), in_groups():
        z, _ = torch.func.vmap(lambda x: apply(net, None, x))(x)
    assert passes == []
    torch.testing.assert_close(z[1], apply(net, None, x[1])[0], atol=1e-5, rtol=1e-4)


def test_gradients_go_the_other_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """With gradients, or inside another map, every task is taken as ever."""
    passes = passes_of_groups(monkeypatch)
    net, x = net_of((1, 16, 16)), torch.rand(2, 3, 1, 16, 16)
    with in_groups():
        torch.func.vmap(lambda x: apply(net, None, x)[0])(x).sum().backward()
        with torch.no_grad():
            inner = torch.func.vmap(torch.func.vmap(lambda x: apply(net, None, x[None])[0][0]))(x)
            slope = torch.func.grad(lambda x: apply(net, None, x)[0].sum())(x[0])
    assert passes == []
    assert net.blocks[0].weight.grad is not None
    assert inner.shape == (2, 3, net.features)
    assert slope.abs().sum() > 0


def test_outside_nothing_changes() -> None:
    net, x = net_of((1, 16, 16)), torch.rand(3, 1, 16, 16)
    with torch.no_grad():
        before, _ = apply(net, None, x)
        with in_groups():
            pass
        assert torch.equal(apply(net, None, x)[0], before)
    assert not applying._in_groups.get()
