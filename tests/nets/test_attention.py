"""Attention agrees with torch's own, and remembers what it has read."""

import pytest
import torch

from helpers import torchs_attention, torchs_transformer
from quickstudy.errors import SettingsError
from quickstudy.nets.attention import Attention, Block, Memory, Transformer, attend, begin_as_nothing

WIDTH, HEADS = 8, 2


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_attention_is_torchs():
    torch.manual_seed(0)
    ours = Attention(WIDTH, HEADS).double()
    ours.of_key.reset_parameters()  # apart from queries, as training draws them
    theirs = torchs_attention(ours)
    asked, keys, values = vectors(3, 4), vectors(3, 5, seed=1), vectors(3, 5, seed=2)
    seen = torch.tensor([True, False, True, True, False])
    expected, _ = theirs(asked, keys, values, key_padding_mask=~seen.expand(3, 5))
    torch.testing.assert_close(ours(asked, ours.memory(keys, values), seen), expected)


def test_who_sees_nothing_reads_zero():
    keys = vectors(HEADS, 3)
    memory = Attention(WIDTH, HEADS).double().memory(vectors(3))
    read = attend(memory.keys, memory, torch.zeros(3, dtype=torch.bool))
    assert not read.any()
    none = memory._replace(keys=memory.keys[:, :0], values=memory.values[:, :0])
    assert not attend(memory.keys, none, torch.zeros(0, dtype=torch.bool)).any()
    assert keys.shape == (HEADS, 3, WIDTH)


@pytest.mark.parametrize("norm", ["before", "after"])
@pytest.mark.parametrize("activation", ["relu", "gelu"])
def test_a_layer_is_torchs(norm, activation):
    torch.manual_seed(0)
    ours = Block(WIDTH, HEADS, 16, norm=norm, activation=activation).double()
    ours.attention.of_key.reset_parameters()
    with torch.no_grad():
        for own in ours.norms:
            own.weight.copy_(torch.randn(WIDTH))
    theirs = torchs_transformer([ours], activation=activation, norm=norm)
    x = vectors(2, 5)
    everyone, before = torch.ones(5, dtype=torch.bool), torch.ones(5, 5, dtype=torch.bool).tril()
    torch.testing.assert_close(ours(x, ours.memory(x), everyone), theirs(x))
    torch.testing.assert_close(ours(x, ours.memory(x), before), theirs(x, mask=~before))


@pytest.mark.parametrize("norm", ["before", "after"])
def test_reading_what_was_remembered_is_one_pass_with_a_mask(norm):
    """Queries that see the set and not each other, nor themselves."""
    torch.manual_seed(0)
    net = Transformer(WIDTH, HEADS, 16, 3, norm=norm).double()
    given, asked = vectors(5), vectors(4, seed=1)
    seen = torch.tensor([True, True, False, True, True])
    both = torch.cat([given, asked])
    sees = torch.cat([seen, torch.zeros(4, dtype=torch.bool)]).expand(9, 9)
    for block in net.blocks:
        both = block(both, block.memory(both), sees)
    memories = net.remember(given, seen)
    torch.testing.assert_close(net(asked, memories, seen), both[5:])
    torch.testing.assert_close(net(asked[2:3], memories, seen), both[7:8])


def test_maps_and_differentiates_twice():
    torch.manual_seed(0)
    net = Transformer(WIDTH, HEADS, 16, 2).double()
    seen = torch.tensor([True, False, True])

    def slope(x: torch.Tensor) -> torch.Tensor:
        return torch.func.grad(lambda x: net(x, net.remember(x, seen), seen).square().sum())(x)

    x = vectors(4, 3)
    together = torch.func.vmap(slope)(x)
    torch.testing.assert_close(together, torch.stack([slope(each) for each in x]))
    assert torch.autograd.gradcheck(slope, x[0].clone().requires_grad_())


def test_keys_begin_as_queries_and_are_learned_apart():
    torch.manual_seed(0)
    attention = Attention(WIDTH, HEADS)
    assert torch.equal(attention.of_key.weight, attention.of_query.weight)
    assert torch.equal(attention.of_key.bias, attention.of_query.bias)
    x = vectors(6).float()
    everyone = torch.ones(6, dtype=torch.bool)
    names = ("of_query.weight", "of_key.weight")
    slopes = torch.autograd.grad(
        attention(x, attention.memory(x), everyone).square().sum(), [attention.get_parameter(name) for name in names]
    )
    assert not torch.allclose(*slopes)


def test_what_is_alike_is_read_most_from_the_start():
    """Of many vectors each asks for what resembles it: nearly always more than from unrelated maps, by chance."""
    torch.manual_seed(0)
    width, x = 64, torch.randn(50, 64)
    alike, unrelated = Attention(width, 2), Attention(width, 2)
    unrelated.of_key.reset_parameters()
    found = []
    for attention in (alike, unrelated):
        values = torch.eye(50)[None].expand(2, -1, -1)
        queries = attention._by_head(attention.of_query(x))
        weight = attend(queries, Memory(attention.memory(x).keys, values), torch.ones(50, dtype=torch.bool))
        found.append((weight.argmax(-1) == torch.arange(50)).float().mean())
    assert found[0] > 0.95
    assert found[1] < 0.15


def test_heads_must_share_the_width():
    with pytest.raises(SettingsError, match="3 heads cannot share a width of 8"):
        Attention(8, 3)


def test_layers_that_begin_as_nothing_change_nothing():
    torch.manual_seed(0)
    transformer = Transformer(8, 2, 16, 3, norm="before")
    x, seen = torch.randn(5, 8), torch.ones(5, dtype=torch.bool)
    assert not torch.allclose(transformer(x, transformer.remember(x, seen), seen), x)
    begin_as_nothing(transformer)
    assert torch.equal(transformer(x, transformer.remember(x, seen), seen), x)
