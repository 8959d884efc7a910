"""`Norm` against torch's batch normalisation, its masks, and what records say of a net."""

import inspect

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from quickstudy.core.apply import apply
from quickstudy.errors import SettingsError
from quickstudy.nets import Conv4, Norm, normalisation
from quickstudy.nets.norm import PopulationNorm, gathering, make_norm

SHAPES = [(6, 3), (6, 3, 5), (6, 3, 4, 5)]


def norm_and_input(shape: tuple[int, ...], dtype: torch.dtype = torch.float64) -> tuple[Norm, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    norm = Norm(shape[1]).to(dtype)
    with torch.no_grad():
        norm.weight.copy_(torch.randn(shape[1], generator=generator))
        norm.bias.copy_(torch.randn(shape[1], generator=generator))
    x = 3 * torch.randn(shape, generator=generator, dtype=torch.float64) + 2
    return norm, x.to(dtype)


@pytest.mark.parametrize("shape", SHAPES)
def test_it_is_batch_norm(shape):
    norm, x = norm_and_input(shape)
    expected = F.batch_norm(x, None, None, norm.weight, norm.bias, training=True)
    torch.testing.assert_close(norm(x), expected)
    torch.testing.assert_close(apply(norm, None, x)[0], expected)
    everyone = torch.ones(6, dtype=torch.bool)
    torch.testing.assert_close(apply(norm, None, x, mask=everyone)[0], expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_masked_it_is_batch_norm_of_the_rest(shape):
    norm, x = norm_and_input(shape)
    mask = torch.tensor([True, False, True, True, False, True])
    x[~mask] = 1e3
    expected = F.batch_norm(x[mask], None, None, norm.weight, norm.bias, training=True)
    torch.testing.assert_close(apply(norm, None, x, mask=mask)[0][mask], expected)


@pytest.mark.parametrize("shape", SHAPES)
def test_given_statistics_make_it_evaluation_batch_norm(shape):
    norm, x = norm_and_input(shape)
    _, statistics = apply(norm, None, x)
    other = torch.roll(x, 1, 0)[:2] * 2
    (moments,) = statistics
    expected = F.batch_norm(other, moments.mean, moments.variance, norm.weight, norm.bias)
    torch.testing.assert_close(apply(norm, None, other, statistics=statistics)[0], expected)


@pytest.mark.parametrize("masked", [False, True])
def test_first_and_second_derivatives(masked):
    norm, x = norm_and_input((4, 2, 3))
    mask = torch.tensor([True, True, False, True]) if masked else None

    def out(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
        return apply(norm, {"weight": weight, "bias": bias}, x, mask=mask)[0]

    inputs = [value.detach().clone().requires_grad_() for value in (x, norm.weight, norm.bias)]
    assert torch.autograd.gradcheck(out, inputs)
    assert torch.autograd.gradgradcheck(out, inputs)


def test_statistics_are_wide_though_values_are_narrow():
    norm, x = norm_and_input((6, 3, 4, 5), torch.bfloat16)
    with torch.autocast("cpu", torch.bfloat16):
        assert norm(x).dtype == torch.bfloat16
        _, (moments,) = apply(norm, None, x)
    torch.testing.assert_close(moments.mean, x.float().mean((0, 2, 3)))
    torch.testing.assert_close(moments.variance, x.float().var((0, 2, 3), correction=0))


def test_one_example_alone_is_its_own_mean():
    norm, x = norm_and_input((1, 3))
    torch.testing.assert_close(norm(x), norm.bias.expand(1, 3))


def test_all_masked_is_finite():
    norm, x = norm_and_input((6, 3))
    out, _ = apply(norm, None, x, mask=torch.zeros(6, dtype=torch.bool))
    assert torch.isfinite(out).all()


@pytest.mark.parametrize(("channels", "groups"), [(64, 8), (12, 6), (7, 1), (4, 2), (1, 1), (20, 5)])
def test_groups_divide_the_channels_and_hold_two(channels, groups):
    layer = make_norm("group", channels)
    assert layer.num_groups == groups
    assert layer(torch.randn(2, channels, 2)).shape == (2, channels, 2)


def test_groups_map_after_a_convolution_with_channels_last():
    """torch's own raises there: it asks how a mapped tensor lies in memory."""
    layers = nn.Sequential(nn.Conv2d(2, 4, 1), make_norm("group", 4)).to(memory_format=torch.channels_last)
    x = torch.randn(3, 5, 2, 6, 6, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(torch.func.vmap(layers)(x), torch.stack([layers(each) for each in x]))


def shown(*batches: torch.Tensor) -> PopulationNorm:
    """A layer that has seen these batches in training, ready to be evaluated."""
    norm = PopulationNorm(3).double()
    with gathering():
        for batch in batches:
            norm(batch)
    return norm.eval()


def test_in_training_the_population_is_the_support():
    norm, x = norm_and_input((6, 3, 4, 5))
    layer = PopulationNorm(3).double()
    layer.load_state_dict(norm.state_dict(), strict=False)
    for given in (None, apply(norm, None, 2 * x)[1]):
        ours, theirs = (apply(each, None, x, statistics=given) for each in (layer, norm))
        torch.testing.assert_close(ours, theirs)
    assert layer.gathered == 0


@pytest.mark.parametrize("shape", SHAPES)
def test_evaluated_it_is_batch_norm_with_what_all_batches_hold(shape):
    _, x = norm_and_input((30, *shape[1:]))
    layer = shown(*x.split(6))
    over = (0, *range(2, len(shape)))
    mean, variance = x.mean(over), x.var(over, correction=0)
    other = torch.roll(x, 1, 0)[:2] * 2
    expected = F.batch_norm(other, mean, variance, layer.weight, layer.bias)
    for statistics in (None, apply(layer.train(), None, x)[1]):  # whatever the support was
        torch.testing.assert_close(apply(layer.eval(), None, other, statistics=statistics)[0], expected)
    torch.testing.assert_close(layer(other), expected)


def test_untrained_it_goes_by_the_support():
    """A floor of random features would otherwise not be normalised at all."""
    norm, x = norm_and_input((6, 3, 4, 5))
    layer = PopulationNorm(3).double().eval()
    layer.load_state_dict(norm.state_dict(), strict=False)
    for given in (None, apply(norm, None, 2 * x)[1]):
        ours, theirs = (apply(each, None, x, statistics=given) for each in (layer, norm))
        torch.testing.assert_close(ours, theirs)


def test_what_was_seen_long_ago_is_forgotten():
    old, new = torch.zeros(2, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    layer = shown(*[old] * 100, *[new] * 400)
    torch.testing.assert_close(layer.mean, torch.ones_like(layer.mean), atol=1e-3, rtol=0)


def test_nothing_is_gathered_unasked_nor_when_mapped_nor_when_evaluated():
    _, x = norm_and_input((6, 3, 4, 5))
    layer = PopulationNorm(3).double()
    layer(x)
    with gathering():
        torch.func.vmap(layer)(x[:, None])
        layer.eval()(x)
    assert layer.gathered == 0


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32)])
def test_a_conv4_takes_the_population_quickly_or_plainly(shape):
    """In evaluation its filters are scaled before anything is convolved; the blocks alone do so after."""
    x = torch.rand(12, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    net = Conv4(shape, width=4, norm="population").double()
    with gathering():
        apply(net, None, x)
    net.eval()
    together, statistics = apply(net, None, x)
    alone = torch.cat([apply(net, None, each[None], statistics=statistics)[0] for each in x])
    torch.testing.assert_close(alone, together)
    torch.testing.assert_close(net.blocks(x).flatten(1), together)
    mapped = torch.func.vmap(lambda x: apply(net, None, x)[0])(x.view(3, 4, *shape)).flatten(0, 1)
    torch.testing.assert_close(mapped, together)


def test_an_unknown_policy_is_refused():
    with pytest.raises(SettingsError, match=r"no normalisation 'batch'\. Known: support, population, transductive"):
        inspect.unwrap(make_norm)("batch", 4)


@pytest.mark.parametrize(
    ("layers", "said"),
    [
        ([], "none"),
        ([Norm(2)], "support"),
        ([PopulationNorm(2)], "population"),
        ([Norm(2, transductive=True)], "transductive"),
        ([nn.GroupNorm(1, 2)], "group"),
        ([nn.LayerNorm(2)], "layer"),
        ([nn.BatchNorm1d(2)], "running"),
        ([nn.BatchNorm2d(2, track_running_stats=False)], "transductive"),
        ([Norm(2), nn.GroupNorm(1, 2)], "group+support"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_records_say(layers, said):
    assert normalisation(nn.Sequential(nn.Linear(2, 2), *layers)) == said


def test_it_shows_its_policy():
    assert repr(Norm(4, transductive=True)) == "Norm(4, transductive=True)"
