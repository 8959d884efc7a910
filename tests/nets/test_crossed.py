"""Attention down columns and along rows, against torch's own attention cell by cell."""

import torch
from torch.nn import functional as F

from quickstudy.nets.attention import Attention
from quickstudy.nets.crossed import Crossed, CrossedTransformer

N, M, C, WIDTH = 5, 3, 4, 8


def moved(module: torch.nn.Module) -> torch.nn.Module:
    generator = torch.Generator().manual_seed(1)
    module = module.double()
    with torch.no_grad():
        for weight in module.parameters():
            weight.add_(0.3 * torch.randn(weight.shape, generator=generator, dtype=weight.dtype))
    return module


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(2), dtype=torch.float64)


def by_torch(attention: Attention, asked: torch.Tensor, given: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
    """One set [m, d] that attends to another [n, d]."""
    peer = torch.nn.MultiheadAttention(WIDTH, attention.heads, batch_first=True).double()
    with torch.no_grad():
        of = attention
        peer.in_proj_weight.copy_(torch.cat([of.of_query.weight, of.of_key.weight, of.of_value.weight]))
        peer.in_proj_bias.copy_(torch.cat([of.of_query.bias, of.of_key.bias, of.of_value.bias]))
        peer.out_proj.load_state_dict(of.out.state_dict())
    return peer(asked[None], given[None], given[None], key_padding_mask=~seen[None], need_weights=False)[0][0]


def test_a_layer_is_attention_down_then_along():
    block = moved(Crossed(WIDTH, 2, 16))
    rows, asked = drawn(N, C, WIDTH), drawn(N + M, C, WIDTH)[N:]
    seen, used = torch.tensor([True, True, False, True, True]), torch.tensor([True, False, True, True])
    said = block(asked, block.memory(rows), seen, used)
    first, second, third = block.norms
    x = torch.stack(
        [asked[:, c] + by_torch(block.down, first(asked[:, c]), first(rows[:, c]), seen) for c in range(C)], 1
    )
    x = torch.stack([row + by_torch(block.along, second(row), second(row), used) for row in x])
    x = x + block.perceptron[-1](F.gelu(block.perceptron[0](third(x))))
    torch.testing.assert_close(said, x)
    alone = block(asked, block.memory(rows), seen, used, first=True)
    torch.testing.assert_close(alone, x[:, :1])


def test_leading_axes_broadcast():
    """Queries are read alike for all classes until they meet what the classes' passes remember."""
    net = moved(CrossedTransformer(WIDTH, 2, 16, 2))
    rows, asked = drawn(2, N, C, WIDTH), drawn(M, C, WIDTH)
    seen, used = torch.ones(N, dtype=torch.bool), torch.ones(C, dtype=torch.bool)
    both = net(asked, net.remember(rows, seen, used), seen, used)
    assert both.shape == (2, M, WIDTH)
    for at in range(2):
        torch.testing.assert_close(both[at], net(asked, net.remember(rows[at], seen, used), seen, used))


def test_it_begins_as_doing_nothing():
    block = Crossed(WIDTH, 2, 16).double()
    x = drawn(N, C, WIDTH)
    every = torch.ones(N, dtype=torch.bool), torch.ones(C, dtype=torch.bool)
    torch.testing.assert_close(block(x, block.memory(x), *every), x)
