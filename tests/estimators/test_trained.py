"""Estimators over runs and bundles: what they say is what the trained method says."""

import pickle

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("sklearn", reason="scikit-learn is not installed (extra sklearn)")

from sklearn.base import clone
from sklearn.model_selection import cross_val_score

from quickstudy import FewShotClassifier, FewShotRegressor
from quickstudy.bundle import Bundle
from quickstudy.core.episode import Examples
from quickstudy.core.settings import load
from quickstudy.errors import DataError, SettingsError
from quickstudy.tasks.glyphs import Glyphs
from quickstudy.tasks.sines import Sines
from quickstudy.train.loop import fit
from quickstudy.train.run import Run, RunSettings, training_source
from quickstudy.train.settings import Training


def trained(folder, method, tasks, net=None) -> Run:
    """A run of two steps."""
    settings = RunSettings(
        method=load("method", method),
        tasks=tasks,
        net=None if net is None else load("net", net),
        training=Training(steps=2, batch=2),
    )
    run = Run.create(folder, settings)
    state, _ = run.resume()
    for _ in fit(state.method, training_source(settings), state=state):
        pass
    run.save(state)
    return run


@pytest.fixture(scope="module")
def glyphs(tmp_path_factory) -> Run:
    net = {"name": "conv4", "width": 4}
    return trained(tmp_path_factory.mktemp("runs") / "glyphs", "protonet", Glyphs(ways=3, shots=2, queries=2), net)


@pytest.fixture(scope="module")
def drawings():
    """Support and query of one task of images."""
    episode = Glyphs(ways=3, shots=2, queries=4).source("test").batch([0])
    return [(part.x[0], np.array(["a", "b", "c"])[part.y[0].int().argmax(-1)]) for part in episode]


def expected(run: Run, support, asked) -> np.ndarray:
    method, _ = run.method()
    method.eval()
    x, names = support
    y = torch.nn.functional.one_hot(torch.tensor(np.unique(names, return_inverse=True)[1])).bool()
    with torch.no_grad():
        learner = method.adapt(Examples(x.float() / 255, y, torch.ones(len(x), dtype=torch.bool)))
        return method.predict(learner, asked.float() / 255).mean.numpy()


def test_a_run_of_images_and_the_ways_to_give_them(glyphs, drawings, tmp_path):
    (x, names), (asked, _) = drawings
    wanted = expected(glyphs, (x, names), asked)
    given = {
        "bytes": (x.numpy(), asked.numpy()),
        "fractions": (x.numpy() / 255, asked.numpy() / 255),
        "rows": (x.numpy().reshape(len(x), -1) / 255, asked.numpy().reshape(len(asked), -1) / 255),
        "pictures": tuple([Image.fromarray(each[0].numpy()) for each in part] for part in (x, asked)),
    }
    for way, (known, query) in given.items():
        if way == "pictures" and Bundle.of_run(glyphs).encoder.invert != "never":
            continue
        fitted = FewShotClassifier(str(glyphs.folder)).fit(known, names)
        np.testing.assert_allclose(fitted.predict_proba(query), wanted, atol=1e-5, err_msg=way)
    with pytest.raises(DataError, match="X has items of shape 5; expected 1 x 28 x 28"):
        FewShotClassifier(glyphs.folder).fit(np.zeros((len(x), 5)), names)


def test_a_bundle_a_folder_and_a_run_say_the_same(glyphs, drawings, tmp_path):
    (x, names), (asked, _) = drawings
    Bundle.of_run(glyphs).save(tmp_path / "bundle")
    ways = [glyphs.folder, tmp_path / "bundle", str(tmp_path / "bundle"), Bundle.of_run(glyphs)]
    said = [FewShotClassifier(model).fit(x.numpy(), names).predict_proba(asked.numpy()) for model in ways]
    for each in said:
        np.testing.assert_allclose(each, expected(glyphs, (x, names), asked), atol=1e-5)


def test_runs_in_scikit_learns_tools(glyphs, drawings):
    (x, names), (asked, _) = drawings
    fitted = FewShotClassifier(glyphs.folder).fit(x.numpy(), names)
    again = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(again.predict_proba(asked.numpy()), fitted.predict_proba(asked.numpy()))
    rows = x.numpy().reshape(len(x), -1) / 255
    assert cross_val_score(clone(fitted), rows, names, cv=2).shape == (2,)


def test_methods_of_one_number_of_classes(tmp_path, drawings):
    (x, names), (asked, _) = drawings
    run = trained(tmp_path / "maml", {"name": "maml", "steps": 1}, Glyphs(ways=3, shots=2, queries=2))
    fitted = FewShotClassifier(run.folder).fit(x.numpy()[names != "b"], names[names != "b"])
    probability = fitted.predict_proba(asked.numpy())
    assert probability.shape == (len(asked), 2)
    np.testing.assert_allclose(probability.sum(1), 1, atol=1e-6)
    fitted.partial_fit(x.numpy()[names == "b"], names[names == "b"])
    before = fitted.predict_proba(asked.numpy())
    with pytest.raises(SettingsError, match="3"):
        fitted.partial_fit(x.numpy()[:1], ["d"])
    assert fitted.classes_.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(fitted.predict_proba(asked.numpy()), before)


def test_a_run_of_values(tmp_path):
    run = trained(tmp_path / "sines", "maml", Sines())
    episode = Sines().source("test").batch([0])
    x, y, asked = episode.support.x[0], episode.support.y[0], episode.query.x[0]
    fitted = FewShotRegressor(run.folder).fit(x.numpy(), y.numpy()[:, 0])
    assert fitted.target_scale_ is None
    method, _ = run.method()
    with torch.no_grad():
        learner = method.adapt(Examples(x, y, torch.ones(len(x), dtype=torch.bool)))
        wanted = method.predict(learner, asked).mean[:, 0]
    np.testing.assert_allclose(fitted.predict(asked.numpy()), wanted, atol=1e-5)
    with pytest.raises(SettingsError, match="learns real values, not classes"):
        FewShotClassifier(run.folder).fit(x.numpy(), y.numpy()[:, 0] > 0)
    with pytest.raises(SettingsError, match="2"):
        FewShotRegressor(run.folder).fit(x.numpy(), y.numpy().repeat(2, 1))
