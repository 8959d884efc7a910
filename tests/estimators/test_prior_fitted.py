"""A classifier that was trained before it saw a table, by the contract of scikit-learn and by what it should know."""

from __future__ import annotations

import pickle

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")

import torch
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.utils.estimator_checks import parametrize_with_checks

from quickstudy.errors import DataError, SettingsError
from quickstudy.estimators.prior_fitted import PriorFittedClassifier
from quickstudy.methods.memory.kernelpfn import KernelPFN
from quickstudy.methods.metric.protonet import ProtoNet
from quickstudy.nets import Flatten


def small() -> KernelPFN:
    torch.manual_seed(0)
    return KernelPFN(Flatten((30,)), 10, width=8, hidden=8, heads=2, layers=2)


@parametrize_with_checks([PriorFittedClassifier()])
def test_it_keeps_scikit_learns_contract(estimator, check):
    check(estimator)


def blobs(n: int = 60, classes: int = 3, columns: int = 4, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    y = np.arange(n) % classes
    centres = 3 * np.random.default_rng(1).normal(size=(classes, columns))
    return centres[y] + rng.normal(size=(n, columns)), y


def test_it_learns_without_training():
    x, y = blobs()
    asked, truth = blobs(200, seed=2)
    fitted = PriorFittedClassifier().fit(x, np.array(["a", "b", "c"])[y])
    assert (fitted.predict(asked) == np.array(["a", "b", "c"])[truth]).mean() > 0.85
    said = fitted.predict_proba(asked)
    np.testing.assert_allclose(said.sum(1), 1, atol=1e-6)
    assert said.shape == (200, 3)


def test_what_is_no_line_is_learned_too():
    """The inside of a circle, which no linear model knows."""
    rng = np.random.default_rng(0)
    x = rng.uniform(-1, 1, (400, 2))
    y = (x**2).sum(1) < 0.6
    said = PriorFittedClassifier().fit(x[:200], y[:200]).predict(x[200:])
    assert (said == y[200:]).mean() > 0.85


def test_order_of_rows_columns_and_classes_does_not_matter():
    x, y = blobs()
    asked = blobs(9, seed=2)[0]
    plain = PriorFittedClassifier().fit(x, y).predict_proba(asked)
    rng = np.random.default_rng(3)
    rows, columns = rng.permutation(len(x)), rng.permutation(4)
    names = np.array([2, 0, 1])
    turned = PriorFittedClassifier().fit(x[rows][:, columns], names[y[rows]]).predict_proba(asked[:, columns])
    np.testing.assert_allclose(turned[:, names], plain, atol=1e-5)


def test_raw_tables_are_taken():
    rng = np.random.default_rng(0)
    y = np.arange(80) % 2
    x = np.empty((80, 3), dtype=object)
    x[:, 0] = np.where(y == 1, "red", "blue")
    x[::7, 0] = None
    x[:, 1] = rng.normal(size=80)
    x[:, 2] = [str(each) for each in rng.integers(0, 9, 80)]
    x[3, 1] = float("nan")
    fitted = PriorFittedClassifier().fit(x[:60], y[:60])
    known = np.array([value is not None for value in x[60:, 0]])
    assert (fitted.predict(x[60:]) == y[60:])[known].mean() > 0.85
    unseen = x[60:61].copy()
    unseen[0, 0] = "green"
    assert np.isfinite(fitted.predict_proba(unseen)).all()
    unseen[0, 1] = "tall"
    with pytest.raises(DataError, match="column 1 holds 'tall', but numbers"):
        fitted.predict(unseen)


def test_data_frames_are_taken():
    pandas = pytest.importorskip("pandas", reason="needs pandas")
    x, y = blobs(60, 2)
    frame = pandas.DataFrame(x, columns=list("abcd"))
    frame["kind"] = pandas.Categorical(np.where(y == 1, "u", "v"))
    frame.loc[3, "a"] = None
    fitted = PriorFittedClassifier().fit(frame, y)
    assert fitted.feature_names_in_.tolist() == [*"abcd", "kind"]
    assert (fitted.predict(frame) == y).mean() > 0.9


def test_larger_tables_are_read_in_samples():
    x, y = blobs(300, columns=12)
    fitted = PriorFittedClassifier(small(), rows=100, columns=6, members=3).fit(x, y)
    assert len(fitted.members_) == 3
    assert {len(member.columns) for member in fitted.members_} == {6}
    assert len({tuple(member.columns) for member in fitted.members_}) > 1
    assert {len(member.learner.mask) for member in fitted.members_} == {100}
    np.testing.assert_allclose(fitted.predict_proba(x).sum(1), 1, atol=1e-5)
    again = PriorFittedClassifier(small(), rows=100, columns=6, members=3).fit(x, y)
    np.testing.assert_array_equal(again.predict_proba(x), fitted.predict_proba(x))


def test_samples_have_every_class():
    x, y = blobs(200, 2)
    y[7] = 5
    fitted = PriorFittedClassifier(small(), rows=20).fit(x, y)
    for member in fitted.members_:
        assert member.learner.memories[0].keys.shape[0] == 3
        assert len(member.learner.mask) == 20
    assert fitted.predict_proba(x).shape == (200, 3)


def test_more_classes_than_the_prior_had():
    x, y = blobs(240, 24)
    assert PriorFittedClassifier(small()).fit(x, y).predict_proba(x).shape == (240, 24)


def test_predictions_do_not_need_the_support_again(monkeypatch):
    x, y = blobs()
    fitted = PriorFittedClassifier(small()).fit(x, y)
    monkeypatch.setattr(KernelPFN, "adapt", None)
    assert len(fitted.predict(x)) == 60


def test_pickles_are_small_and_say_the_same():
    x, y = blobs()
    fitted = PriorFittedClassifier().fit(x, y)
    written = pickle.dumps(fitted)
    np.testing.assert_array_equal(pickle.loads(written).predict_proba(x), fitted.predict_proba(x))
    assert "_method" not in fitted.__getstate__()


def test_what_is_no_such_model_is_refused():
    x, y = blobs()
    with pytest.raises(SettingsError, match="model is protonet; expected a trained kernelpfn"):
        PriorFittedClassifier(ProtoNet(Flatten((4,)))).fit(x, y)
    with pytest.raises(SettingsError, match="rows is 0; expected a whole number"):
        PriorFittedClassifier(rows=0).fit(x, y)
    with pytest.raises(NotFittedError):
        clone(PriorFittedClassifier()).predict(x)
