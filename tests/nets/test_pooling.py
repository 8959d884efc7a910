"""Max-pooling by comparisons against torch's own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from quickstudy.nets.pooling import by_comparisons, max_pooled

SIZES = [(4, 6), (7, 6), (5, 9), (2, 3)]


def compared(maps: Tensor) -> Tensor:
    with by_comparisons():
        return max_pooled(maps)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_the_largest_and_its_gradient_are_torchs_own(size: tuple[int, int], layout: torch.memory_format):
    """Of equal numbers, of which there are many here, the first has the gradient."""
    torch.manual_seed(0)
    maps = torch.randn(3, 4, *size).round().to(memory_format=layout).requires_grad_()
    said, expected = compared(maps), F.max_pool2d(maps, 2)
    assert torch.equal(said, expected)
    slope = torch.randn_like(expected)
    assert torch.equal(torch.autograd.grad(said, maps, slope)[0], torch.autograd.grad(expected, maps, slope)[0])


def test_derivatives_to_the_second():
    maps = torch.randn(2, 3, 5, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(compared, maps)
    assert torch.autograd.gradgradcheck(lambda x: compared(x).sin(), maps)


def test_mapped_hessian_vector_products():
    """As in the inner loop of tasks that are mapped together."""
    maps, along = torch.randn(2, 6, 2, 3, 5, 4, dtype=torch.float64)

    def product(pool: Callable[[Tensor], Tensor]) -> Tensor:
        def slope(x: Tensor) -> Tensor:
            return torch.func.grad(lambda x: pool(x).sin().sum())(x)

        def of_task(x: Tensor, v: Tensor) -> Tensor:
            return torch.func.grad(lambda x: (slope(x) * v).sum())(x)

        return torch.func.vmap(of_task)(maps, along)

    torch.testing.assert_close(product(compared), product(lambda x: F.max_pool2d(x, 2)))


def test_a_graph_to_compile_has_no_indices_to_look_up():
    def whole(x: Tensor) -> Tensor:
        return torch.func.grad(lambda x: max_pooled(x).square().sum())(x)

    maps = torch.randn(2, 3, 4, 4)
    with by_comparisons():
        graph = make_fx(whole)(maps)
    assert "max_pool" not in graph.code
    assert torch.equal(graph(maps), whole(maps))
    assert "max_pool" in make_fx(whole)(maps).code  # what is exported keeps torch's own
