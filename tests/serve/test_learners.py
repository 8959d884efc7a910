"""Learners made, asked, changed and forgotten over HTTP, against what the bundle itself says."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from quickstudy.bundle import Bundle, Learner
from serve.asking import TWO, Running, bundle, form, in_base64, noise, row, rows

for needed in ("fastapi", "uvicorn", "sqlalchemy", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed, reason=f"{needed} comes with the extra `serve`")

QUERY = (0.5, 1.5, -0.5)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    made = [bundle(), bundle("image"), bundle("text"), bundle(method="maml", name="fixed")]
    running = Running(tmp_path_factory.mktemp("server"), *made)
    running.start()
    yield running
    running.stop()


def expected(model: Bundle, examples: Any, query: Any) -> dict[str, float]:
    """What the bundle says without a server, by class."""
    kind = model.encoder.kind
    names = list(dict.fromkeys(each["class"] for each in examples))
    x = model.encoder.encode([each[kind] for each in examples])
    learner = model.adapt(x, [names.index(each["class"]) for each in examples], len(names))
    return dict(zip(names, model.predict(learner, model.encoder.encode([query])).mean[0].tolist(), strict=True))


@pytest.mark.parametrize("name", ["vector", "fixed"])
def test_answers_are_those_of_the_bundle(server: Running, name: str) -> None:
    model = Bundle.load(server.folder / "bundles" / name)
    learner = server.create(TWO, name, name="first")
    assert learner["classes"] == [{"name": "high", "examples": 2}, {"name": "low", "examples": 1}]
    assert (learner["model"], learner["version"], learner["newest"]) == (name, model.version, True)
    assert (learner["name"], learner["kept"]) == ("first", True)
    said = server.predict(learner["id"], row(*QUERY), row(-1, -1, -1))
    for each, query in zip(said, (QUERY, (-1, -1, -1)), strict=True):
        right = expected(model, TWO, query)
        assert each["probabilities"] == pytest.approx(right, abs=1e-5)
        assert each["class"] == max(right, key=lambda at: right[at])
        assert each["probability"] == each["probabilities"][each["class"]]
        assert each["known"] is None


def test_images_in_json_and_as_files_come_to_the_same(server: Running) -> None:
    model = Bundle.load(server.folder / "bundles" / "image")
    files = {"a": [noise(0), noise(1)], "b": [noise(2, kind="JPEG"), noise(3, mode="RGB", kind="PNG")]}
    examples = [{"class": name, "image": each} for name, some in files.items() for each in some]
    right = expected(model, examples, noise(9))
    plain = [each | {"image": in_base64(each["image"])} for each in examples]
    plain[0]["image"] = "data:image/png;base64," + plain[0]["image"]
    of_json = server.create(plain, "image")
    kind, body = form(
        ("model", b"image", False),
        ("keep", b"false", False),
        *((each["class"], each["image"], True) for each in examples),
    )
    of_form = server.ask("POST", "/v1/learners", body, kind=kind)
    assert (of_form.status, of_form.body["kept"], of_form.body["classes"]) == (201, False, of_json["classes"])
    for id in (of_json["id"], of_form.body["id"]):
        (said,) = server.predict(id, {"image": in_base64(noise(9))})
        assert said["probabilities"] == pytest.approx(right, abs=1e-5)
        kind, body = form(("inputs", noise(9), True))
        again = server.ask("POST", f"/v1/learners/{id}/predict", body, kind=kind)
        assert again.body["predictions"] == [said]


def test_texts_and_rows_come_as_files_too(server: Running) -> None:
    for model, files in (
        ("text", {"greeting": b"ab ba", "parting": "gé h".encode()}),
        ("vector", {"x": b"[1, 2, 3]", "y": b"[0, 0.5, -1e2]"}),
    ):
        kind, body = form(("model", model.encode(), False), *((name, each, True) for name, each in files.items()))
        made = server.ask("POST", "/v1/learners", body, kind=kind)
        assert made.status == 201, made
        assert [each["name"] for each in made.body["classes"]] == list(files)


def test_texts_are_encoded_once_and_predicted(server: Running) -> None:
    model = Bundle.load(server.folder / "bundles" / "text")
    first = [{"class": "a", "text": "a abba"}, {"class": "g", "text": "gg hh"}]
    learner = server.create(first, "text")
    more = [{"class": "a", "text": "bab"}, {"class": "d", "text": "dd e"}]
    added = server.ask("POST", f"/v1/learners/{learner['id']}/examples", {"examples": more})
    assert added.status == 200, added
    (said,) = server.predict(learner["id"], {"text": "abc"})
    assert said["probabilities"] == pytest.approx(expected(model, first + more, "abc"), abs=1e-5)


def test_examples_and_classes_are_added_and_removed(server: Running) -> None:
    model = Bundle.load(server.folder / "bundles" / "vector")
    learner = server.create(TWO)
    path = f"/v1/learners/{learner['id']}"
    more = rows(low=[(-2, 0, 1)], **{"in/between é": [(0, 0, 1), (0, 0, 2)]})
    added = server.ask("POST", f"{path}/examples", {"examples": more})
    counts = [{"name": "high", "examples": 2}, {"name": "low", "examples": 2}, {"name": "in/between é", "examples": 2}]
    assert (added.status, added.body["classes"], added.body["id"]) == (200, counts, learner["id"])
    (said,) = server.predict(learner["id"], row(*QUERY))
    assert said["probabilities"] == pytest.approx(expected(model, TWO + more, QUERY), abs=1e-5)
    removed = server.ask("DELETE", f"{path}/classes/high")
    assert removed.body["classes"] == counts[1:]
    (said,) = server.predict(learner["id"], row(*QUERY))
    left = [each for each in TWO + more if each["class"] != "high"]
    assert said["probabilities"] == pytest.approx(expected(model, left, QUERY), abs=1e-5)
    assert server.ask("DELETE", f"{path}/classes/in%2Fbetween%20e%CC%81").code == "too_few_classes"
    again = server.ask("POST", f"{path}/examples", {"examples": rows(high=[(1, 2, 0)])})
    assert [each["name"] for each in again.body["classes"]] == ["low", "in/between é", "high"]
    gone = server.ask("DELETE", f"{path}/classes/in%2Fbetween%20e%CC%81")  # decomposed: the same name
    assert [each["name"] for each in gone.body["classes"]] == ["low", "high"]
    assert server.ask("DELETE", f"{path}/classes/nobody").code == "not_found"


def test_single_examples_are_removed(server: Running) -> None:
    model = Bundle.load(server.folder / "bundles" / "vector")
    given = TWO + rows(low=[(1, 2, 0), (-3, 0, 0), (-3, 0, 0)])  # the first of them stands in the other class too
    learner = server.create(given)
    path = f"/v1/learners/{learner['id']}"
    listed = server.ask("GET", f"{path}/examples")
    assert listed.status == 200
    found = listed.body["examples"]
    assert [(each["class"], each["count"]) for each in found] == [("high", 1)] * 2 + [("low", 1)] * 2 + [("low", 2)]
    assert len({each["id"] for each in found}) == 5
    assert server.ask("DELETE", f"{path}/examples/{'0' * 32}").code == "not_found"
    removed = server.ask("DELETE", f"{path}/examples/{found[3]['id']}")
    assert removed.body["classes"] == [{"name": "high", "examples": 2}, {"name": "low", "examples": 3}]
    (said,) = server.predict(learner["id"], row(*QUERY))
    assert said["probabilities"] == pytest.approx(expected(model, given[:3] + given[4:], QUERY), abs=1e-5)
    assert server.ask("DELETE", f"{path}/examples/{found[3]['id']}").code == "not_found"
    removed = server.ask("DELETE", f"{path}/examples/{found[4]['id']}")  # given twice, gone at once
    assert removed.body["classes"][1] == {"name": "low", "examples": 1}
    assert server.ask("DELETE", f"{path}/examples/{found[2]['id']}").code == "too_few_classes"
    assert server.ask("GET", f"{path}/examples").body["examples"] == found[:3]


def test_the_last_example_of_a_class_takes_the_class_with_it(server: Running) -> None:
    learner = server.create(rows(first=[(0, 0, 1)], second=[(1, 0, 0), (2, 0, 0)], third=[(0, 1, 0)]))
    path = f"/v1/learners/{learner['id']}"
    first, *others = server.ask("GET", f"{path}/examples").body["examples"]
    removed = server.ask("DELETE", f"{path}/examples/{first['id']}")
    assert [each["name"] for each in removed.body["classes"]] == ["second", "third"]
    assert server.ask("GET", f"{path}/examples").body["examples"] == others


def test_single_texts_and_images_are_removed(server: Running) -> None:
    """What an encoder made of texts is kept beside them, and goes with them."""
    model = Bundle.load(server.folder / "bundles" / "text")
    given = [{"class": "a", "text": "a abba"}, {"class": "a", "text": "hh a"}, {"class": "g", "text": "gg hh"}]
    learner = server.create(given, "text")
    path = f"/v1/learners/{learner['id']}"
    second = server.ask("GET", f"{path}/examples").body["examples"][1]
    assert server.ask("DELETE", f"{path}/examples/{second['id']}").status == 200
    (said,) = server.predict(learner["id"], {"text": "abc"})
    assert said["probabilities"] == pytest.approx(expected(model, [given[0], given[2]], "abc"), abs=1e-5)
    images = [{"class": name, "image": in_base64(noise(at))} for at, name in enumerate("aab")]
    path = f"/v1/learners/{server.create(images, 'image')['id']}/examples"
    first = server.ask("GET", path).body["examples"][0]
    assert server.ask("DELETE", f"{path}/{first['id']}").body["classes"][0] == {"name": "a", "examples": 1}


def test_names_that_mean_the_same_are_one_class(server: Running) -> None:
    composed = rows(**{"caf\u00e9": [(1, 1, 1)], " cafe\u0301 ": [(1, 1, 2)], "tea": [(0, 0, 0)]})
    assert server.create(composed)["classes"] == [{"name": "café", "examples": 2}, {"name": "tea", "examples": 1}]


def test_forgotten_examples_stay_forgotten(server: Running) -> None:
    learner = server.create(TWO, keep=False)
    path = f"/v1/learners/{learner['id']}"
    assert learner["kept"] is False
    assert server.ask("POST", f"{path}/examples", {"examples": TWO}).code == "forgotten"
    assert server.ask("DELETE", f"{path}/classes/high").code == "forgotten"
    assert server.ask("GET", f"{path}/examples").code == "forgotten"
    assert server.ask("DELETE", f"{path}/examples/{'0' * 32}").code == "forgotten"
    assert len(server.predict(learner["id"], row(*QUERY))) == 1


def test_an_export_is_the_learner(server: Running) -> None:
    model = Bundle.load(server.folder / "bundles" / "vector")
    learner = server.create(TWO, name="to go")
    answer = server.ask("GET", f"/v1/learners/{learner['id']}/export")
    assert (answer.status, answer.headers["content-type"]) == (200, "application/zip")
    with zipfile.ZipFile(io.BytesIO(answer.body)) as archive:
        assert sorted(archive.namelist()) == ["learner.json", "learner.safetensors"]
        notes = json.loads(archive.read("learner.json"))
        exported = Learner.from_bytes(archive.read("learner.safetensors"))
    assert (notes["name"], notes["version"], notes["classes"]) == ("to go", model.version, learner["classes"])
    p = model.predict(exported, torch.tensor([QUERY])).mean[0].tolist()
    (said,) = server.predict(learner["id"], row(*QUERY))
    assert list(said["probabilities"].values()) == pytest.approx(p, abs=1e-6)
    assert server.ask("GET", f"/v1/learners/{learner['id']}/export").body == answer.body


def test_lists_are_paged_and_deleted_learners_gone(tmp_path_factory: pytest.TempPathFactory) -> None:
    running = Running(tmp_path_factory.mktemp("list"), bundle())
    running.start()
    try:
        ids = sorted(running.create(TWO)["id"] for _ in range(5))
        seen: list[str] = []
        path = "/v1/learners?limit=2"
        pages = 0
        while path:
            page = running.ask("GET", path).body
            seen += [each["id"] for each in page["learners"]]
            pages += 1
            path = f"/v1/learners?limit=2&after={page['next']}" if page["next"] else ""
        assert (seen, pages) == (ids, 3)
        assert running.ask("DELETE", f"/v1/learners/{ids[0]}").status == 204
        for method, rest in (("GET", ""), ("DELETE", ""), ("GET", "/export"), ("POST", "/readapt")):
            assert running.ask(method, f"/v1/learners/{ids[0]}{rest}").status == 404
        gone = running.ask("POST", f"/v1/learners/{ids[0]}/predict", {"inputs": [row(*QUERY)]})
        assert gone.code == "not_found"
        assert len(running.ask("GET", "/v1/learners").body["learners"]) == 4
    finally:
        running.stop()


def test_a_restart_changes_no_answer(tmp_path_factory: pytest.TempPathFactory) -> None:
    running = Running(tmp_path_factory.mktemp("restart"), bundle())
    running.start()
    learner = running.create(TWO)
    before = running.predict(learner["id"], row(*QUERY))
    running.stop()
    running.start()
    try:
        assert running.predict(learner["id"], row(*QUERY)) == before
        described = running.ask("GET", f"/v1/learners/{learner['id']}").body
        assert described == learner
    finally:
        running.stop()


def test_two_servers_on_one_database_see_each_others_changes(tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("two")
    one, other = Running(folder, bundle(), fresh=0), Running(folder, bundle(), fresh=0)
    one.start()
    other.start()
    try:
        learner = one.create(TWO)
        path = f"/v1/learners/{learner['id']}"
        assert other.predict(learner["id"], row(*QUERY)) == one.predict(learner["id"], row(*QUERY))
        one.ask("POST", f"{path}/examples", {"examples": rows(new=[QUERY])})
        for each in (one, other):
            (said,) = each.predict(learner["id"], row(*QUERY))
            assert said["class"] == "new"
        other.ask("DELETE", path)
        assert one.ask("POST", f"{path}/predict", {"inputs": [row(*QUERY)]}).status == 404
    finally:
        one.stop()
        other.stop()


def test_one_process_looks_again_only_now_and_then(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    running = Running(tmp_path_factory.mktemp("fresh"), bundle(), fresh=60)
    running.start()
    try:
        looks: list[str] = []
        revision = running.store.revision
        monkeypatch.setattr(running.store, "revision", lambda tenant, id: looks.append(id) or revision(tenant, id))
        learner = running.create(TWO)
        path = f"/v1/learners/{learner['id']}"
        for _ in range(3):
            running.predict(learner["id"], row(*QUERY))
        assert looks == []  # it has just written it
        running.app.service._cache.get("local", learner["id"]).seen[0] -= 61
        for _ in range(3):
            running.predict(learner["id"], row(*QUERY))
        assert looks == [learner["id"]]
        running.ask("POST", f"{path}/examples", {"examples": rows(new=[QUERY])})  # its own changes it sees at once
        assert running.predict(learner["id"], row(*QUERY))[0]["class"] == "new"
        running.predict(learner["id"], row(*QUERY))
        running.ask("DELETE", path)
        assert running.ask("POST", f"{path}/predict", {"inputs": [row(*QUERY)]}).status == 404
    finally:
        running.stop()


def test_models_are_described(server: Running) -> None:
    models = {each["name"]: each for each in server.ask("GET", "/v1/models").body["models"]}
    assert list(models) == ["vector", "image", "text", "fixed"]
    assert (models["image"]["kind"], models["image"]["item"], models["image"]["ways"]) == ("image", [1, 16, 16], None)
    assert (models["fixed"]["method"], models["fixed"]["ways"]) == ("MAML", 3)
    assert server.ask("GET", "/v1/models/text").body == models["text"]
    assert server.ask("GET", "/v1/models/nothing").code == "not_found"
