"""Attention agrees with torch's own, and remembers what it has read."""

import pytest
import torch
from torch import nn

from quickstudy.errors import SettingsError
from quickstudy.nets.attention import Attention, Block, Transformer, attend

WIDTH, HEADS = 8, 2


def vectors(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, WIDTH, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_attention_is_torchs():
    torch.manual_seed(0)
    ours, theirs = Attention(WIDTH, HEADS).double(), nn.MultiheadAttention(WIDTH, HEADS, batch_first=True).double()
    with torch.no_grad():
        theirs.in_proj_weight.copy_(torch.cat([ours.of_query.weight, ours.of_key.weight, ours.of_value.weight]))
        theirs.in_proj_bias.copy_(torch.cat([ours.of_query.bias, ours.of_key.bias, ours.of_value.bias]))
        theirs.out_proj.load_state_dict(ours.out.state_dict())
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
    theirs = nn.TransformerEncoderLayer(
        WIDTH, HEADS, 16, dropout=0.0, activation=activation, batch_first=True, norm_first=norm == "before"
    ).double()
    attention = ours.attention
    with torch.no_grad():
        for norm_of, own in zip([theirs.norm1, theirs.norm2], ours.norms, strict=True):
            own.weight.copy_(torch.randn(WIDTH))
            norm_of.load_state_dict(own.state_dict())
        theirs.self_attn.in_proj_weight.copy_(
            torch.cat([attention.of_query.weight, attention.of_key.weight, attention.of_value.weight])
        )
        theirs.self_attn.in_proj_bias.copy_(
            torch.cat([attention.of_query.bias, attention.of_key.bias, attention.of_value.bias])
        )
        theirs.self_attn.out_proj.load_state_dict(attention.out.state_dict())
        theirs.linear1.load_state_dict(ours.perceptron[0].state_dict())
        theirs.linear2.load_state_dict(ours.perceptron[2].state_dict())
    x = vectors(2, 5)
    everyone, before = torch.ones(5, dtype=torch.bool), torch.ones(5, 5, dtype=torch.bool).tril()
    torch.testing.assert_close(ours(x, ours.memory(x), everyone), theirs(x))
    torch.testing.assert_close(ours(x, ours.memory(x), before), theirs(x, src_mask=~before))


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


def test_heads_must_share_the_width():
    with pytest.raises(SettingsError, match="3 heads cannot share a width of 8"):
        Attention(8, 3)
