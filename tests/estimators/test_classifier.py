"""The classifier beside scikit-learn's own closed forms, with classes that come later, and in scikit-learn's tools."""

import pickle

import numpy as np
import pytest
import torch

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")

from sklearn.base import clone
from sklearn.datasets import load_iris
from sklearn.linear_model import Ridge
from sklearn.model_selection import GridSearchCV, cross_val_score
from sklearn.neighbors import NearestCentroid
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from quickstudy import FewShotClassifier, ProtoNet
from quickstudy.encoders.module import ModuleEncoder
from quickstudy.errors import DataError, SettingsError
from quickstudy.nets import Flatten

RNG = np.random.default_rng(0)
NAMES = np.array(["cat", "dog", "zebra"])


def blobs(shots=(5, 3, 8), dims: int = 4, far: float = 2.0) -> tuple[np.ndarray, np.ndarray]:
    """Points around a place for each class, in a mixed order."""
    rng = np.random.default_rng(1)
    at = np.repeat(np.arange(len(shots)), shots)
    x = rng.normal(size=(len(at), dims)) + far * rng.normal(size=(len(shots), dims))[at]
    order = rng.permutation(len(at))
    return x[order] * [1, 10, 0.1, 5][:dims] + 3, NAMES[at[order]]


X, Y = blobs()
ASKED = RNG.normal(size=(20, 4)) * [3, 30, 0.3, 15] + 3


def test_the_default_is_ridge_on_standardised_features():
    """With scikit-learn's Ridge, which has the intercept as a column of ones, shrunk as the rest."""

    def prepared(values):
        return np.c_[(values - X.mean(0)) / X.std(0) / 2, np.ones(len(values))]

    ours = FewShotClassifier().fit(X, Y).predict_proba(ASKED)
    ridge = Ridge(alpha=1.0, fit_intercept=False).fit(prepared(X), (Y[:, None] == NAMES).astype(float))
    logits = 10 * ridge.predict(prepared(ASKED))
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(ours, expected, atol=1e-6)


def test_class_means_are_the_nearest_centroid():
    for scaled in (False, True):
        ours = FewShotClassifier("protonet", standardise=scaled).fit(X, Y)
        theirs = make_pipeline(StandardScaler(with_std=scaled), NearestCentroid()).fit(X, Y)
        assert ours.predict(ASKED).tolist() == theirs.predict(ASKED).tolist()


def test_names_and_numbers_of_classes_are_kept():
    fitted = FewShotClassifier().fit(X, Y)
    assert fitted.classes_.tolist() == ["cat", "dog", "zebra"]
    assert fitted.score(X, Y) == np.mean(fitted.predict(X) == Y)
    numbered = FewShotClassifier().fit(X, np.searchsorted(NAMES, Y) * 10 - 5)
    assert numbered.classes_.tolist() == [-5, 5, 15]
    assert (numbered.predict(ASKED) == np.searchsorted(NAMES, fitted.predict(ASKED)) * 10 - 5).all()
    np.testing.assert_allclose(fitted.predict_proba(ASKED).sum(1), 1)
    assert (fitted.predict(ASKED) == fitted.classes_[fitted.predict_proba(ASKED).argmax(1)]).all()


@pytest.mark.parametrize("model", [None, "protonet", "rfs"])
def test_more_examples_and_a_new_class_later(model):
    whole = FewShotClassifier(model).fit(X, Y)
    early = Y != "dog"
    parts = FewShotClassifier(model).partial_fit(X[early][:6], Y[early][:6]).partial_fit(X[early][6:], Y[early][6:])
    assert parts.classes_.tolist() == ["cat", "zebra"]
    np.testing.assert_allclose(
        parts.predict_proba(ASKED), FewShotClassifier(model).fit(X[early], Y[early]).predict_proba(ASKED), atol=1e-9
    )
    parts.partial_fit(X[~early], Y[~early])
    assert parts.classes_.tolist() == ["cat", "dog", "zebra"]
    np.testing.assert_allclose(parts.predict_proba(ASKED), whole.predict_proba(ASKED), atol=1e-9)
    assert parts.fit(X[early], Y[early]).classes_.tolist() == ["cat", "zebra"]  # fit begins anew


def test_a_class_without_examples_is_never_predicted():
    early = Y != "dog"
    fitted = FewShotClassifier().partial_fit(X[early], Y[early], classes=["dog", "ant"])
    assert fitted.classes_.tolist() == ["ant", "cat", "dog", "zebra"]
    probability = fitted.predict_proba(ASKED)
    assert (probability[:, [0, 2]] == 0).all()
    np.testing.assert_allclose(probability[:, [1, 3]], FewShotClassifier().fit(X[early], Y[early]).predict_proba(ASKED))
    np.testing.assert_allclose(fitted.partial_fit(X[~early], Y[~early]).predict_proba(ASKED)[:, 0], 0)


def test_what_goes_wrong_leaves_what_was_learned():
    fitted = FewShotClassifier().fit(X, Y)
    before = fitted.predict_proba(ASKED)
    with pytest.raises(DataError, match=r"names of classes were like 'cat' and are now like 1; expected one kind"):
        fitted.partial_fit(X[:2], [1, 2])
    with pytest.raises(ValueError, match="features"):
        fitted.partial_fit(X[:, :3], Y)
    np.testing.assert_array_equal(fitted.predict_proba(ASKED), before)


def test_in_a_pipeline_cross_validated_and_searched():
    x, y = load_iris(return_X_y=True)
    names = load_iris().target_names[y]
    piped = make_pipeline(StandardScaler(), FewShotClassifier())
    assert cross_val_score(piped, x, names, cv=3).mean() > 0.75
    penalties = [{"name": "r2d2", "penalty": each} for each in (1e-3, 1e3)]
    found = GridSearchCV(FewShotClassifier("protonet"), {"model": ["protonet", *penalties]}, cv=2).fit(x, names)
    assert set(found.cv_results_["param_model"][0:1]) == {"protonet"}
    assert found.best_estimator_.predict(x[:3]).dtype.kind == "U"


def test_methods_at_hand_and_clones_of_them():
    torch.manual_seed(0)
    method = ProtoNet(Flatten((4,)), temperature=3.0)
    fitted = FewShotClassifier(method).fit(X, Y)
    assert fitted.scale_ is None  # it takes inputs on the scale that it was trained on
    again = clone(fitted).fit(X, Y)
    np.testing.assert_array_equal(again.predict_proba(ASKED), fitted.predict_proba(ASKED))
    means = torch.stack([torch.tensor(X[name == Y]).float().mean(0) for name in NAMES])
    apart = (torch.tensor(ASKED).float()[:, None] - means).square().sum(-1)
    np.testing.assert_allclose(fitted.predict_proba(ASKED), (-apart / 3).softmax(-1), atol=1e-3)


def test_any_module_makes_features():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(0.5), torch.nn.Tanh())
    fitted = FewShotClassifier("protonet", encoder=net).fit(X, Y)
    assert fitted.scale_ is None
    net.eval()
    features = net(torch.tensor(X).float()).detach().numpy()
    plain = FewShotClassifier("protonet", standardise=False).fit(features, Y)
    asked = net(torch.tensor(ASKED).float()).detach().numpy()
    np.testing.assert_allclose(fitted.predict_proba(ASKED), plain.predict_proba(asked), atol=1e-6)
    named = FewShotClassifier("protonet", encoder=ModuleEncoder(net, (4,)))
    assert clone(named).encoder.net is net  # frozen weights are shared by the copies of a cross-validation
    np.testing.assert_array_equal(clone(named).fit(X, Y).predict_proba(ASKED), fitted.predict_proba(ASKED))


def test_what_is_kept_of_a_fit_survives_pickling():
    fitted = FewShotClassifier("protonet").fit(X, Y)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(ASKED), fitted.predict_proba(ASKED))
    whole = FewShotClassifier("protonet").fit(np.r_[X, X[:1]], np.r_[Y, ["ant"]])
    np.testing.assert_array_equal(again.partial_fit(X[:1], ["ant"]).predict_proba(ASKED), whole.predict_proba(ASKED))


def test_what_is_given_is_not_changed_and_may_change():
    x, y = X.copy(), Y.copy()
    fitted = FewShotClassifier().fit(x, y)
    before = fitted.predict_proba(ASKED)
    x[:], y[:] = 0, "x"
    np.testing.assert_array_equal(fitted.partial_fit(X[:1], Y[:1]).classes_, NAMES)
    np.testing.assert_array_equal(FewShotClassifier().fit(X, Y).predict_proba(ASKED), before)


def test_methods_for_values_and_unknown_ones_are_refused():
    with pytest.raises(SettingsError, match=r"no method named 'protnet' and no folder.*did you mean 'protonet'\?"):
        FewShotClassifier("protnet").fit(X, Y)
    with pytest.raises(SettingsError, match=r"learns real values, not classes\. Use FewShotRegressor"):
        FewShotClassifier("convcnp").fit(X, Y)
    with pytest.raises(SettingsError, match="R2D2 has no setting 'penalt'"):
        FewShotClassifier({"name": "r2d2", "penalt": 1}).fit(X, Y)
    with pytest.raises(SettingsError, match="model is float; expected"):
        FewShotClassifier(3.0).fit(X, Y)


def test_raw_inputs_need_an_encoder():
    with pytest.raises(SettingsError, match=r'X holds str, and there is no encoder.*encoder="text"'):
        FewShotClassifier().fit(["a", "b"], ["x", "y"])
    with pytest.raises(SettingsError, match="Sequential reads tensors, not what X holds"):
        FewShotClassifier(encoder=torch.nn.Sequential()).fit(["a", "b"], ["x", "y"])
    with pytest.raises(DataError, match="X is one str; expected a list"):
        FewShotClassifier().fit("a", ["x"])
