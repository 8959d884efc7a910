"""Closed forms, solvers and gradients against other people's, each where it is installed.

`python benchmarks/oracles.py` makes an environment that has them all and runs this there.
"""

import sys
import types

import pytest
import torch
import torch.nn.functional as F

from helpers import random_episodes
from quickstudy import SGD, Episode, ProtoNet
from quickstudy.core import tree
from quickstudy.inner.implicit import Descent, proximal
from quickstudy.methods.flat.rfs import RFS, logistic_regression
from quickstudy.methods.flat.simpleshot import SimpleShot
from quickstudy.methods.metric.matching import MatchingNet
from quickstudy.methods.metric.r2d2 import R2D2
from quickstudy.methods.metric.relation import RelationNet
from quickstudy.methods.metric.ridge import ridge
from quickstudy.methods.metric.svm import multiclass_svm
from quickstudy.nets import Conv4, Flatten

# Peers warn of their own use of old names.
pytestmark = pytest.mark.filterwarnings("default")


def normal(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def one(item=(6,), **sizes) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=item, dtype=torch.float64, **sizes))


def labels(y):
    return y.int().argmax(-1)


# --- the support vector machine ---------------------------------------------------------------------------------------


def machine(n=10, k=5, d=12):
    return normal(n, d), torch.eye(k, dtype=torch.float64)[torch.arange(n) % k]


@pytest.mark.parametrize("bound", [0.05, 0.1, 1.0])
def test_svm_is_cvxpys(agrees, bound):
    cvxpy = pytest.importorskip("cvxpy")
    x, y = machine()
    alpha = cvxpy.Variable(y.shape)
    cost = 0.5 * cvxpy.sum_squares(x.numpy().T @ alpha) - cvxpy.sum(cvxpy.multiply(alpha, y.numpy()))
    asked = cvxpy.Problem(cvxpy.Minimize(cost), [alpha <= bound * y.numpy(), cvxpy.sum(alpha, axis=1) == 0])
    asked.solve(solver="CLARABEL", tol_gap_abs=1e-12, tol_gap_rel=1e-12, tol_feas=1e-12)
    ours = multiclass_svm(x @ x.T, y, torch.ones_like(y, dtype=torch.bool), bound)
    agrees("dual variables", ours, torch.from_numpy(alpha.value), 1e-6)
    agrees("weights", x.T @ ours, x.T @ torch.from_numpy(alpha.value), 1e-6)


@pytest.mark.parametrize("bound", [0.05, 0.1, 1.0])
def test_svm_gradient_is_cvxpylayers(agrees, bound):
    cvxpy = pytest.importorskip("cvxpy")
    layers = pytest.importorskip("cvxpylayers.torch")
    (x, y), toward = machine(), normal(12, 5, seed=1)
    x.requires_grad_()
    given, alpha = cvxpy.Parameter(x.shape), cvxpy.Variable(y.shape)
    cost = 0.5 * cvxpy.sum_squares(given.T @ alpha) - cvxpy.sum(cvxpy.multiply(alpha, y.numpy()))
    asked = cvxpy.Problem(cvxpy.Minimize(cost), [alpha <= bound * y.numpy(), cvxpy.sum(alpha, axis=1) == 0])
    layer = layers.CvxpyLayer(asked, parameters=[given], variables=[alpha])
    # By default it solves for derivatives by LSQR, which stops up to 6% away from central differences.
    exactly = {"solve_method": "SCS", "eps": 1e-12, "max_iters": 200_000, "mode": "dense"}
    (theirs,) = layer(x, solver_args=exactly)
    ours = multiclass_svm(x @ x.T, y, torch.ones_like(y, dtype=torch.bool), bound)
    agrees("weights", x.T @ ours, x.T @ theirs, 1e-6)
    slopes = [torch.autograd.grad(((x.T @ found) * toward).sum(), x)[0] for found in (ours, theirs)]
    agrees("gradient in the examples", *slopes, 1e-4)


# --- regressions ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("cost", "steps", "limit"), [(1.0, 1000, 1e-6), (10.0, 2000, 1e-6), (1.0, 100, 1e-6)])
def test_logistic_regression_is_scikit_learns(agrees, cost, steps, limit):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x = torch.cat([F.normalize(normal(25, 64), dim=-1), torch.ones(25, 1, dtype=torch.float64)], 1)
    y = torch.arange(25) % 5
    peer = linear_model.LogisticRegression(C=cost, fit_intercept=False, tol=1e-14, max_iter=100_000)
    peer.fit(x.numpy(), y.numpy())
    ours = logistic_regression(x, F.one_hot(y).bool(), torch.ones(5, dtype=torch.bool), cost, steps)
    agrees(f"weights, C={cost:g}, {steps} steps", ours, torch.from_numpy(peer.coef_.T), limit)


def test_rfs_says_what_scikit_learn_says(agrees):
    linear_model = pytest.importorskip("sklearn.linear_model")
    episode, method = one(shots=5), RFS(Flatten((6,)), 20).double()
    x, query = (torch.cat([F.normalize(p.x, dim=-1), torch.ones_like(p.x[:, :1])], 1).numpy() for p in episode)
    peer = linear_model.LogisticRegression(C=1.0, fit_intercept=False, tol=1e-14, max_iter=100_000)
    theirs = peer.fit(x, labels(episode.support.y).numpy()).predict_proba(query)
    ours = method.predict(method.adapt(episode.support), episode.query.x).mean
    agrees("probabilities by default settings", ours, torch.from_numpy(theirs), 1e-6)


@pytest.mark.parametrize("penalty", [0.01, 1.0, 50.0])
def test_ridge_is_scikit_learns(agrees, penalty):
    linear_model = pytest.importorskip("sklearn.linear_model")
    x, y = normal(25, 64), F.one_hot(torch.arange(25) % 5).double()
    peer = linear_model.Ridge(alpha=penalty, fit_intercept=False, solver="cholesky").fit(x.numpy(), y.numpy())
    agrees(f"weights, λ={penalty:g}", ridge(x, y, penalty), torch.from_numpy(peer.coef_.T), 1e-10)


def test_r2d2_says_what_scikit_learn_says(agrees):
    linear_model = pytest.importorskip("sklearn.linear_model")
    episode, method = one(shots=5), R2D2(Flatten((6,)), penalty=0.3).double()
    x, query = (torch.cat([part.x, torch.ones_like(part.x[:, :1])], 1).numpy() for part in episode)
    peer = linear_model.Ridge(alpha=0.3, fit_intercept=False).fit(x, episode.support.y.double().numpy())
    ours = method.predict(method.adapt(episode.support), episode.query.x).logits
    agrees("logits", ours, 10.0 * torch.from_numpy(peer.predict(query)), 1e-6)


# --- EasyFSL ----------------------------------------------------------------------------------------------------------


class Anything(types.ModuleType):
    """A module that has a class of any name."""

    def __getattr__(self, name):
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (torch.nn.Module,), {"expansion": 1})


@pytest.fixture
def easyfsl(monkeypatch):
    """Its methods. Its ResNets, not used here, inherit from torchvision, which may not load beside a CPU torch."""
    pytest.importorskip("easyfsl")
    for name in ("torchvision", "torchvision.models", "torchvision.models.resnet"):
        stand_in = Anything(name)
        stand_in.__path__ = []
        monkeypatch.setitem(sys.modules, name, stand_in)
    import easyfsl.methods

    return easyfsl.methods


def by_easyfsl(peer, episode, query=None):
    peer.process_support_set(episode.support.x, labels(episode.support.y))
    return peer(episode.query.x if query is None else query)


def test_prototypes_are_easyfsls(agrees, easyfsl):
    """Its scores are distances, the paper's their squares."""
    episode, method = one(shots=3), ProtoNet(Flatten((6,)))
    ours = method.predict(method.adapt(episode.support), episode.query.x).logits
    agrees("scores", ours, -by_easyfsl(easyfsl.PrototypicalNetworks(), episode).square(), 1e-10)


def test_prototypes_on_a_net_are_easyfsls(agrees, easyfsl):
    torch.manual_seed(0)
    net = Conv4((1, 16, 16), width=8, norm="group").double()
    episode, method = one((1, 16, 16), shots=3), ProtoNet(net)
    theirs = -by_easyfsl(easyfsl.PrototypicalNetworks(net), episode).square()
    agrees("scores", method.predict(method.adapt(episode.support), episode.query.x).logits, theirs, 1e-10)
    weights = list(net.parameters())
    expected = torch.autograd.grad(F.cross_entropy(theirs, labels(episode.query.y)), weights)
    got = torch.autograd.grad(method.meta_loss(episode), weights)
    agrees("gradient", *(torch.cat([slope.flatten() for slope in slopes]) for slopes in (got, expected)), 1e-8)


def test_matching_is_easyfsls(agrees, easyfsl):
    """Without context; it leaves queries as long as they are, so that a length of 10 is our scale. It adds 1e-6 to
    each probability."""
    episode, method = one(shots=3), MatchingNet(Flatten((6,)), scale=10.0).double()
    peer = easyfsl.MatchingNetworks(feature_dimension=6)
    peer.encode_support_features = peer.encode_query_features = lambda z: z
    peer.process_support_set(episode.support.x, labels(episode.support.y))
    peer.one_hot_support_labels = peer.one_hot_support_labels.double()
    theirs = peer(10 * F.normalize(episode.query.x, dim=-1)).exp() - 1e-6
    agrees("probabilities", method.predict(method.adapt(episode.support), episode.query.x).mean, theirs, 1e-6)


def test_relations_are_easyfsls(agrees, easyfsl):
    torch.manual_seed(0)
    net = Conv4((1, 16, 16), width=8, norm="group", halvings=2).double()
    method = RelationNet(net, pooling="mean", width=8).double()
    episode = one((1, 16, 16), shots=3)

    class Maps(torch.nn.Module):
        def forward(self, x):
            return net(x).unflatten(1, net.maps)

    peer = easyfsl.RelationNetworks(Maps(), feature_dimension=8, relation_module=method.relation)
    ours = method.predict(method.adapt(episode.support), episode.query.x).logits
    agrees("scores", ours, by_easyfsl(peer, episode), 1e-10)


def test_simpleshot_is_easyfsls(agrees, easyfsl):
    """It takes cosines with the mean of a class, SimpleShot's paper distances to it: one and the same at one shot."""
    episode, method = one(shots=1), SimpleShot(Flatten((6,)), 20, temperature=0.5).double()
    centre = normal(6, seed=3)
    with torch.no_grad():
        method.centre.copy_(centre)
    ours = method.predict(method.adapt(episode.support), episode.query.x).logits
    theirs = by_easyfsl(easyfsl.SimpleShot(feature_centering=centre, feature_normalization=2.0), episode)
    agrees("scores", ours.detach(), -(2 - 2 * theirs) / 0.5, 1e-10)


# --- TorchOpt ---------------------------------------------------------------------------------------------------------


def test_implicit_gradient_is_torchopts(agrees):
    """The derivative of argmin L(φ) + λ/2 ‖φ - θ‖² in θ; it takes tuples of tensors, no dictionaries."""
    torchopt = pytest.importorskip("torchopt")
    x, y, toward = normal(6, 3, seed=2), normal(6, 2, seed=3), normal(3, 2, seed=4)
    start = {"w": 0.3 * normal(3, 2), "b": 0.3 * normal(2, seed=1)}
    start = {name: leaf.requires_grad_() for name, leaf in start.items()}

    def loss(params, x, y):
        return (torch.tanh(x @ params["w"] + params["b"]) - y).square().mean()

    def solved(start):
        options = {"strength": 0.5, "solver": Descent(SGD(rate=0.3), 600), "iterations": 12, "damping": 0.0}
        return proximal(loss, start, (x, y), **options)

    def penalised(params, centre):
        apart = sum((here - there).square().sum() for here, there in zip(params, centre, strict=True))
        return loss({"w": params[0], "b": params[1]}, x, y) + 0.25 * apart

    def stationary(params, centre):
        return torch.func.grad(penalised)(params, centre)

    @torchopt.diff.implicit.custom_root(
        stationary, argnums=1, solve=torchopt.linear_solve.solve_cg(rtol=1e-14, atol=1e-14)
    )
    def solve(params, centre):
        return tuple(leaf.detach() for leaf in solved({"w": centre[0], "b": centre[1]}).values())

    theirs = solve(None, tuple(start.values()))
    expected = torch.autograd.grad((theirs[0] * toward).sum(), list(start.values()))
    got = torch.autograd.grad((solved(start)["w"] * toward).sum(), list(start.values()))
    agrees("gradient", *(torch.cat([slope.flatten() for slope in slopes]) for slopes in (got, expected)), 1e-7)
