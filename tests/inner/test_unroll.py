"""The inner loop: exact meta-gradients are the unrolled ones and agree with finite differences, for every rule."""

import inspect
import itertools

import pytest
import torch

from quickstudy import SGD, Adam, LearnedRates, Momentum, over_tasks, unroll
from quickstudy.core import tree
from quickstudy.errors import SettingsError
from quickstudy.inner import Rule, descend, loop
from quickstudy.inner.lstm import MetaLSTM
from quickstudy.inner.stretch import stretch


class ByLoss(Rule):
    """Steps as long as the loss is high: θ ← θ - 0.2 · loss · slope."""

    reads_loss = True

    def told(self, state, loss):
        return loss

    def step(self, params, slope, state, learned):
        return {name: params[name] - 0.2 * state * slope[name] for name in params}, state

    def __repr__(self):
        return "by loss"


RULES = [
    SGD(rate=0.3),
    Momentum(rate=0.2),
    Adam(rate=0.1),
    LearnedRates(rate=0.2),
    LearnedRates(rate=0.2, per="tensor"),
    LearnedRates(rate=0.2, per="tensor", steps=2, space="log"),
    ByLoss(),
    MetaLSTM(hidden=2),
]


@pytest.fixture(autouse=True, params=["kept", "last kept"])
def stored(request, monkeypatch):
    """Small losses keep all steps of these; a large one would keep some, and compute the others again."""
    if request.param == "last kept":
        monkeypatch.setattr(loop, "SMALL", 0)
        monkeypatch.setattr(loop, "STORED", 1)


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def loss(params, x, y, mask):
    """Of a small net with a masked mean: bool leaves travel with the data."""
    hidden = torch.tanh(x @ params["w"] + params["b"])
    each = (hidden @ params["v"] - y).square()
    return (each * mask).sum() / mask.sum()


def start(seed=0):
    return {"w": normal(3, 4, seed=seed), "b": normal(4, seed=seed + 1), "v": normal(4, seed=seed + 2)}


def support(seed=5, n=6):
    mask = torch.ones(n, dtype=torch.bool)
    mask[-1] = False
    return normal(n, 3, seed=seed), normal(n, seed=seed + 1), mask


def outer(params, x, y, learned, *, rule, gradient, steps=4):
    """A function of the end of the loop, whose gradient is the meta-gradient."""
    mask = support()[2]
    end = unroll(loss, params, (x, y, mask), rule=rule, steps=steps, gradient=gradient, learned=learned)[-1]
    return loss(end, normal(5, 3, seed=9), normal(5, seed=10), torch.ones(5))


def meta_gradient(rule, gradient, steps=4):
    """In the start, in the support's inputs and targets, and in the rule's learned tensors."""
    x, y, _ = support()
    at = (start(), x, y, rule.learned(start()))
    at = tree.map_leaves(lambda leaf: leaf.clone().requires_grad_(), at)
    value = outer(*at, rule=rule, gradient=gradient, steps=steps)
    return torch.autograd.grad(value, tree.leaves(at)), at


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_exact_is_unrolled(rule):
    for exact, unrolled in zip(meta_gradient(rule, "exact")[0], meta_gradient(rule, "unrolled")[0], strict=True):
        torch.testing.assert_close(exact, unrolled, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("gradient", ["exact", "unrolled"])
def test_it_agrees_with_finite_differences(rule, gradient):
    slopes, at = meta_gradient(rule, gradient)
    flat, spec = tree.flatten(tree.map_leaves(torch.Tensor.detach, at))
    step = 1e-5
    for i, slope in enumerate(slopes):
        direction = normal(*flat[i].shape, seed=20 + i)

        def along(length, i=i, direction=direction):
            moved = [leaf + length * direction if j == i else leaf for j, leaf in enumerate(flat)]
            return outer(*tree.unflatten(moved, spec), rule=rule, gradient=gradient)

        rise = (along(step) - along(-step)) / (2 * step)
        assert abs(rise - (slope * direction).sum()) < 1e-6 * max(1.0, float(slope.norm())), i


def test_first_order_is_the_slope_at_the_end():
    """With plain steps θ_K = θ_0 - (constants), so its derivative in θ_0 is the identity (FOMAML)."""
    x, y, mask = support()
    params = tree.map_leaves(lambda leaf: leaf.clone().requires_grad_(), start())
    end = unroll(loss, params, (x, y, mask), rule=SGD(rate=0.3), steps=4, gradient="first-order")[-1]
    query = (normal(5, 3, seed=9), normal(5, seed=10), torch.ones(5))
    got = torch.autograd.grad(loss(end, *query), list(params.values()))
    expected = torch.func.grad(loss)(tree.map_leaves(torch.Tensor.detach, end), *query)
    for slope, name in zip(got, params, strict=True):
        torch.testing.assert_close(slope, expected[name])


def test_first_order_keeps_the_derivative_in_learned_rates():
    """θ_1 = θ_0 - r·g with g constant: d/dr of the outer loss is -g·∇."""
    rule, params, data = LearnedRates(rate=0.2), start(), support()
    rates = tree.map_leaves(lambda leaf: leaf.requires_grad_(), rule.learned(params))
    end = unroll(loss, params, data, rule=rule, steps=1, gradient="first-order", learned=rates)[-1]
    query = (normal(5, 3, seed=9), normal(5, seed=10), torch.ones(5))
    loss(end, *query).backward()
    inner, after = torch.func.grad(loss)(params, *data), torch.func.grad(loss)(end, *query)
    for name in params:
        torch.testing.assert_close(rates[name].grad, -inner[name] * after[name].detach())


@pytest.mark.parametrize("gradient", ["exact", "first-order", "unrolled"])
def test_a_rule_that_reads_the_loss_has_that_of_where_it_is(gradient):
    """And under first-order as a constant: the derivative of the last point in the first is the identity."""
    params = tree.map_leaves(lambda leaf: leaf.clone().requires_grad_(), start())
    path = unroll(loss, params, support(), rule=ByLoss(), steps=3, gradient=gradient)
    for before, after in itertools.pairwise(path):
        slope, value = torch.func.grad_and_value(loss)(tree.map_leaves(torch.Tensor.detach, before), *support())
        for name in before:
            torch.testing.assert_close(after[name], before[name] - 0.2 * value * slope[name])
    if gradient == "first-order":
        for name, leaf in params.items():
            (slope,) = torch.autograd.grad(path[-1][name].sum(), leaf)
            assert torch.equal(slope, torch.ones_like(leaf))


def test_a_loss_is_asked_once_a_step_and_of_its_parameters_alone():
    asked = []

    def noted(params, *data):
        asked.append(set(params))
        return loss(params, *data)

    for rule in (SGD(rate=0.3), ByLoss()):
        unroll(noted, start(), support(), rule=rule, steps=2)
    assert asked == [set(start())] * 4


def test_values_do_not_depend_on_the_gradient():
    paths = [
        unroll(loss, start(), support(), rule=SGD(rate=0.3), steps=3, gradient=g) for g in ("exact", "first-order")
    ]
    reference = unroll(loss, start(), support(), rule=SGD(rate=0.3), steps=3, gradient="unrolled")
    for path in paths:
        for a, b in zip(tree.leaves(path), tree.leaves(reference), strict=True):
            torch.testing.assert_close(a, b)


def test_a_quadratic_has_a_closed_form():
    """Down ½ θᵀAθ by rate r: θ_k = (1 - rA)^k θ_0, and so is the derivative."""
    a = normal(3, 3)
    a = a @ a.T / 3
    theta = normal(3, seed=1).requires_grad_()
    path = unroll(lambda p, a: 0.5 * p["t"] @ a @ p["t"], {"t": theta}, (a,), rule=SGD(rate=0.1), steps=5)
    shrink = torch.eye(3, dtype=torch.float64) - 0.1 * a
    assert len(path) == 6
    for k, point in enumerate(path):
        torch.testing.assert_close(point["t"], torch.linalg.matrix_power(shrink, k) @ theta)
    direction = normal(3, seed=2)
    (slope,) = torch.autograd.grad(path[-1]["t"] @ direction, theta)
    torch.testing.assert_close(slope, torch.linalg.matrix_power(shrink, 5).T @ direction)


def test_every_step_of_the_path_has_a_meta_gradient():
    """A loss of all the points on the way, as multi-step losses need."""

    def total(gradient):
        params = tree.map_leaves(lambda leaf: leaf.clone().requires_grad_(), start())
        path = unroll(loss, params, support(), rule=SGD(rate=0.3), steps=3, gradient=gradient)
        value = sum(loss(point, *support(seed=7)) for point in path)
        return torch.autograd.grad(value, list(params.values()))

    for exact, unrolled in zip(total("exact"), total("unrolled"), strict=True):
        torch.testing.assert_close(exact, unrolled)


@pytest.mark.parametrize("gradient", ["exact", "first-order", "last-2", "unrolled"])
def test_each_step_may_have_data_of_its_own(gradient):
    """A list has that of each step, and the last of it serves all later ones; gradients flow into every entry."""
    steps, rule = 5, SGD(rate=0.3)
    constant = {"first-order": steps, "last-2": steps - 2}.get(gradient, 0)
    params = tree.map_leaves(lambda leaf: leaf.clone().requires_grad_(), start())
    sets = [support(seed) for seed in (5, 15, 25)]
    inputs = [x.requires_grad_() for x, _, _ in sets]
    ends = [unroll(loss, params, sets, rule=rule, steps=steps, gradient=gradient)[-1]]
    ends.append(descend(loss, params, sets, rule=rule, steps=steps, gradient=gradient))
    moving = params
    for number, at in enumerate((0, 1, 2, 2, 2)):
        slopes = torch.autograd.grad(loss(moving, *sets[at]), list(moving.values()), create_graph=True)
        slope = dict(zip(moving, slopes, strict=True))
        slope = tree.map_leaves(torch.Tensor.detach, slope) if number < constant else slope
        moving, _ = rule.step(moving, slope, (), {})
    wanted = [*params.values(), *inputs]

    def back(end):
        return torch.autograd.grad(loss(end, *support(40)), wanted, allow_unused=True, materialize_grads=True)

    expected = back(moving)
    assert gradient == "first-order" or expected[-1].abs().max() > 1e-3
    for end in ends:
        for ours, theirs in zip((*end.values(), *back(end)), (*moving.values(), *expected), strict=True):
            torch.testing.assert_close(ours, theirs)


def test_no_steps_stay_at_the_start():
    params = start()
    assert unroll(loss, params, support(), rule=SGD(), steps=0) == [params]


@pytest.mark.parametrize("gradient", ["exact", "first-order", "unrolled"])
def test_parameters_that_the_loss_ignores_stay(gradient):
    params = {**start(), "idle": normal(2, seed=30)}
    end = unroll(loss, params, support(), rule=SGD(rate=0.3), steps=2, gradient=gradient)[-1]
    assert torch.equal(end["idle"], params["idle"])


@pytest.mark.parametrize("rule", RULES, ids=str)
@pytest.mark.parametrize("gradient", ["exact", "first-order", "unrolled"])
def test_it_maps_over_tasks(rule, gradient):
    """Losses and meta-gradients by vmap, whole and in chunks, are the loop's; the start is shared by the tasks."""
    data = tree.stack([support(seed) for seed in (5, 15, 25)])
    query = tree.stack([support(seed) for seed in (40, 50, 60)])

    def run(how, chunk):
        params = tree.map_leaves(lambda leaf: leaf.clone().requires_grad_(), start())
        learned = tree.map_leaves(lambda leaf: leaf.requires_grad_(), rule.learned(start()))

        def task(data, query):
            end = unroll(loss, params, data, rule=rule, steps=3, gradient=gradient, learned=learned)[-1]
            return loss(end, *query)

        losses = over_tasks(task, data, query, how=how, chunk=chunk)
        return [losses, *torch.autograd.grad(losses.mean(), tree.leaves((params, learned)))]

    looped = run("loop", None)
    for chunk in (None, 1, 2):
        for mapped, expected in zip(run("map", chunk), looped, strict=True):
            torch.testing.assert_close(mapped, expected)


@pytest.mark.parametrize("gradient", ["exact", "first-order", "unrolled"])
def test_it_adapts_where_gradients_are_off(gradient):
    expected = unroll(loss, start(), support(), rule=SGD(rate=0.3), steps=3)[-1]
    for off in (torch.no_grad, torch.inference_mode):
        with off():
            end = unroll(loss, start(), support(), rule=SGD(rate=0.3), steps=3, gradient=gradient)[-1]
        for name, value in end.items():
            torch.testing.assert_close(value.clone(), expected[name])
            assert not value.requires_grad


def test_an_unknown_gradient_is_refused():
    with pytest.raises(SettingsError, match="gradient='second': an inner loop is differentiated by exact, first-order"):
        inspect.unwrap(unroll)(loss, start(), support(), rule=SGD(), steps=1, gradient="second")


@pytest.mark.parametrize("rule", [SGD(rate=0.3), LearnedRates(rate=0.2)], ids=str)
@pytest.mark.parametrize("last", [1, 2, 3, 7])
def test_a_truncated_gradient_takes_earlier_slopes_as_constants(rule, last):
    steps = 7
    found, at = meta_gradient(rule, f"last-{last}", steps)
    params, x, y, learned = tree.map_leaves(lambda leaf: leaf.detach().clone().requires_grad_(), at)
    mask, moving = support()[2], params
    for number in range(steps):
        slopes = torch.autograd.grad(loss(moving, x, y, mask), list(moving.values()), create_graph=True)
        slope = dict(zip(moving, slopes, strict=True))
        if number < steps - last:
            slope = tree.map_leaves(torch.Tensor.detach, slope)
        moving, _ = rule.step(moving, slope, rule.start(moving), learned)
    value = loss(moving, normal(5, 3, seed=9), normal(5, seed=10), torch.ones(5))
    leaves = tree.leaves((params, x, y, learned))
    expected = torch.autograd.grad(value, leaves, materialize_grads=True)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_gradient_through_all_steps_is_exact():
    rule = SGD(rate=0.3)
    for truncated, exact in zip(meta_gradient(rule, "last-4")[0], meta_gradient(rule, "exact")[0], strict=True):
        torch.testing.assert_close(truncated, exact)


@pytest.mark.parametrize("gradient", ["last", "last-", "last-x", "second-order", "first"])
def test_another_gradient_is_refused(gradient):
    with pytest.raises(SettingsError, match="last-N"):
        meta_gradient(SGD(rate=0.3), gradient)


def test_small_losses_keep_more_steps():
    """What is kept goes by what the loss reads, and convolutions make more of it than they read."""
    large = {**start(), "w": normal(3, 4000)}
    convolution = {**start(), "c": normal(2, 2, 3, 3)}
    assert [loop._stored(params, support()) for params in (large, convolution)] == [loop.STORED] * 2
    assert loop._stored(start(), support()) == (loop.MANY if loop.SMALL else loop.STORED)


@pytest.fixture
def stretched(monkeypatch):
    """Nothing is small enough to be kept; how many stretches were taken."""
    taken = []
    monkeypatch.setattr(loop, "SMALL", 0)
    monkeypatch.setattr(loop, "STORED", 2)
    monkeypatch.setattr(loop, "PATH", 0)
    monkeypatch.setattr(loop, "stretch", lambda walk, *values: taken.append(1) or stretch(walk, *values))
    return taken


@pytest.mark.parametrize("rule", RULES, ids=str)
def test_where_it_ends_and_the_derivative_of_it_are_the_same_in_stretches(rule, stretched):
    """Ten steps are three stretches of three, one of one, and the two that are kept."""
    query, mask = (normal(5, 3, seed=9), normal(5, seed=10), torch.ones(5)), support()[2]
    at = tree.map_leaves(lambda leaf: leaf.clone().requires_grad_(), (start(), *support()[:2], rule.learned(start())))

    def slopes(end_of):
        params, x, y, learned = at
        end = end_of(loss, params, (x, y, mask), rule=rule, steps=12, learned=learned)
        return end, torch.autograd.grad(loss(end, *query), tree.leaves(at))

    end, found = slopes(descend)
    assert len(stretched) == 4
    whole, expected = slopes(lambda *given, **asked: unroll(*given, **asked, gradient="unrolled")[-1])
    for ours, theirs in zip((*end.values(), *found), (*whole.values(), *expected), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-9, atol=1e-11)


def test_stretches_count_their_steps(stretched):
    sets = [support(seed) for seed in range(11)]
    params = tree.map_leaves(lambda leaf: leaf.clone().requires_grad_(), start())
    whole = unroll(loss, params, sets, rule=SGD(rate=0.3), steps=12, gradient="unrolled")[-1]
    end = descend(loss, params, sets, rule=SGD(rate=0.3), steps=12)
    assert len(stretched) == 4
    for name, value in end.items():
        torch.testing.assert_close(value, whole[name])


def test_stretches_are_for_plain_differentiation(stretched):
    """Mapped, or without gradients, a loop goes its way in one."""
    data = tree.stack([support(seed) for seed in (5, 15)])
    params = tree.map_leaves(lambda leaf: leaf.clone().requires_grad_(), start())
    rule = SGD(rate=0.3)
    ends = over_tasks(lambda task: descend(loss, params, task, rule=rule, steps=7), data, how="map")
    with torch.no_grad():
        alone = descend(loss, params, support(), rule=rule, steps=7)
    assert not stretched
    for name, end in ends.items():
        torch.testing.assert_close(end[0], alone[name])


def test_a_stretch_is_computed_again_in_the_precision_of_the_way_there(stretched):
    params = tree.map_leaves(lambda leaf: leaf.float().requires_grad_(), start())
    data = tree.map_leaves(lambda leaf: leaf.float() if leaf.is_floating_point() else leaf, support())

    def slope(gradient, end_of):
        with torch.autocast("cpu", torch.bfloat16):
            value = loss(end_of(loss, params, data, rule=SGD(rate=0.1), steps=6, gradient=gradient), *data)
        return torch.autograd.grad(value, list(params.values()))

    narrow = slope("exact", descend)
    assert stretched
    for ours, theirs in zip(narrow, slope("unrolled", descend), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.05, atol=0.01)
