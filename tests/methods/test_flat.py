"""Conventional methods on the flat pool: what they train, and what they make of a support."""

import pytest
import torch
import torch.nn.functional as F

from helpers import random_episodes
from quickstudy import Episode, ProtoNet
from quickstudy.core import tree
from quickstudy.errors import SettingsError
from quickstudy.methods.flat.baselinepp import BaselinePlusPlus
from quickstudy.methods.flat.rfs import RFS
from quickstudy.methods.flat.simpleshot import SimpleShot
from quickstudy.methods.flat.teacher import divergence
from quickstudy.nets import MLP, Flatten


def one(**sizes) -> Episode:
    return tree.map_leaves(lambda leaf: leaf[0], random_episodes(tasks=1, item=(3,), dtype=torch.float64, **sizes))


def made(cls, **settings):
    torch.manual_seed(0)
    return cls(MLP((3,), hidden=(6,), activation="tanh"), 20, **settings).double()


def flat() -> Episode:
    x, labels = torch.randn(10, 3, dtype=torch.float64), torch.arange(10) * 2
    batch = one().query._replace(x=x, y=F.one_hot(labels, 20).bool(), mask=torch.arange(10) < 7)
    return Episode(batch, batch)


@pytest.mark.parametrize("cls", [RFS, SimpleShot])
def test_the_net_learns_to_classify_the_pool(cls):
    """Its slope is that of cross-entropy alone, whatever else is learned beside it."""
    method, batch = made(cls), flat()
    method.meta_loss(batch).backward()
    slopes = {name: weight.grad.clone() for name, weight in method.named_parameters() if name != "centre"}
    method.zero_grad()
    x, labels = batch.query.x[:7], batch.query.y[:7].int().argmax(-1)
    F.cross_entropy(method.head(method.net(x)), labels).backward()
    torch.testing.assert_close(slopes, {n: w.grad for n, w in method.named_parameters() if n != "centre"})


def test_the_centre_is_pulled_to_the_mean_of_the_features():
    method, batch = made(SimpleShot), flat()
    method.meta_loss(batch).backward()
    mean = method.net(batch.query.x[:7]).detach().mean(0)
    torch.testing.assert_close(method.centre.grad, (method.centre.detach() - mean) / 6)


@pytest.mark.parametrize("transform", ["centred", "unit", "none"])
def test_simpleshot_is_the_nearest_mean_of_transformed_features(transform):
    method, episode = SimpleShot(Flatten((3,)), 20, transform=transform, temperature=0.5).double(), one(shots=3)
    with torch.no_grad():
        method.centre.copy_(torch.tensor([0.3, -0.2, 0.9]))

    def transformed(x):
        x = x - method.centre.detach() if transform == "centred" else x
        return x if transform == "none" else x / x.norm(dim=-1, keepdim=True)

    moved = Episode(*(part._replace(x=transformed(part.x)) for part in episode))
    peer = ProtoNet(Flatten((3,)), temperature=0.5)
    expected = peer.predict(peer.adapt(moved.support), moved.query.x).mean
    torch.testing.assert_close(method.predict(method.adapt(episode.support), episode.query.x).mean, expected)


def test_rfs_is_logistic_regression():
    """The minimum that LBFGS finds, of examples that are not padding."""
    method, episode = RFS(Flatten((3,)), 20, cost=2.0, steps=300).double(), one(shots=3)
    support = episode.support._replace(mask=torch.arange(12) < 9)
    x = F.normalize(support.x[:9], dim=-1)
    x, labels = torch.cat([x, torch.ones(9, 1, dtype=torch.float64)], 1), support.y[:9].int().argmax(-1)
    weight = torch.zeros(4, 4, dtype=torch.float64, requires_grad=True)
    options = {"max_iter": 1000, "tolerance_grad": 1e-12, "tolerance_change": 1e-15, "line_search_fn": "strong_wolfe"}
    optimizer = torch.optim.LBFGS([weight], **options)

    def cost():
        optimizer.zero_grad()
        value = 0.5 * weight.square().sum() + 2.0 * F.cross_entropy(x @ weight, labels, reduction="sum")
        value.backward()
        return value

    optimizer.step(cost)
    torch.testing.assert_close(method.adapt(support).weight, weight.detach(), rtol=1e-5, atol=1e-6)


def test_baselinepp_fine_tunes_directions():
    """torch's Adam on a cosine classifier that starts at the class means; the pool is told apart by cosines too."""
    method, episode = made(BaselinePlusPlus, scale=4.0, steps=12), one(shots=3)
    z, labels = F.normalize(method.net(episode.support.x).detach(), dim=-1), episode.support.y.int().argmax(-1)
    weight = torch.stack([z[labels == k].mean(0) for k in range(4)]).requires_grad_()
    optimizer = torch.optim.Adam([weight], lr=0.01)
    for _ in range(12):
        optimizer.zero_grad()
        F.cross_entropy(4.0 * F.cosine_similarity(z[:, None], weight, dim=-1), labels).backward()
        optimizer.step()
    torch.testing.assert_close(method.adapt(episode.support).weight.detach(), weight.detach(), rtol=1e-5, atol=1e-6)
    batch = flat()
    x, labels = batch.query.x[:7], batch.query.y[:7].int().argmax(-1)
    logits = 4.0 * F.cosine_similarity(method.net(x)[:, None], method.head.weight, dim=-1)
    torch.testing.assert_close(method.meta_loss(batch), F.cross_entropy(logits, labels))


@pytest.mark.parametrize("cls", [RFS, SimpleShot, BaselinePlusPlus])
def test_a_class_without_support_is_never_predicted(cls):
    method, episode = made(cls), one()
    absent = episode.support._replace(mask=~episode.support.y[:, 2])
    mean = method.predict(method.adapt(absent), episode.query.x).mean
    assert torch.isfinite(mean).all()
    assert not mean[:, 2].any()


def test_a_student_learns_from_the_labels_and_its_teacher():
    """torch's own cross-entropy and divergence, halves of each; the teacher is the trained one, and has no slope."""
    batch, master, student = flat(), made(RFS), RFS(MLP((3,), hidden=(6,), activation="tanh"), 20, distill=0.5).double()
    before = student.net.state_dict()["layers.1.weight"].clone()
    student.start_from(master)
    assert torch.equal(student.net.state_dict()["layers.1.weight"], before)
    x, labels = batch.query.x[:7], batch.query.y[:7].int().argmax(-1)
    said, told = (each.head(each.net(x)) for each in (student, master))
    soft = F.kl_div((said / 4).log_softmax(-1), (told / 4).softmax(-1), reduction="batchmean")
    expected = 0.5 * F.cross_entropy(said, labels) + 0.5 * 16 * soft
    torch.testing.assert_close(student.meta_loss(batch), expected)
    student.meta_loss(batch).backward()
    assert not [name for name, _ in student.named_parameters() if "teacher" in name]
    assert {name.split(".")[0] for name, _ in student.teacher.named_buffers()} == {"net", "head"}
    assert not any(weight.requires_grad for weight in student.teacher.buffers())


def test_equal_classifiers_do_not_diverge():
    logits = torch.randn(5, 4, dtype=torch.float64)
    torch.testing.assert_close(divergence(logits + 3, logits, 2.0), torch.zeros(5, dtype=torch.float64))
    assert (divergence(logits, logits.flip(-1), 2.0) > 0).all()


def test_a_teacher_is_a_classifier_of_the_same_form():
    student = RFS(MLP((3,), hidden=(6,)), 20, distill=0.5).double()
    with pytest.raises(SettingsError, match="ProtoNet is no classifier of all training classes"):
        student.start_from(ProtoNet(MLP((3,), hidden=(6,))))
    with pytest.raises(SettingsError, match=r"another net, or other classes, than its student: .*head"):
        student.start_from(RFS(MLP((3,), hidden=(6,)), 21))
