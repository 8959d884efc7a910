"""Keys and tenants: what belongs to another is not there."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from serve.asking import TWO, Answer, Running, bundle, row

for needed in ("fastapi", "uvicorn", "sqlalchemy", "python_multipart", "prometheus_client"):
    pytest.importorskip(needed, reason=f"{needed} comes with the extra `serve`")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    running = Running(tmp_path_factory.mktemp("server"), bundle(), keys=True)
    running.start()
    yield running
    running.stop()


ASKS = [
    ("GET", "/v1/models", None),
    ("GET", "/v1/models/vector", None),
    ("POST", "/v1/models/vector/reload", None),
    ("GET", "/v1/learners", None),
    ("POST", "/v1/learners", {"model": "vector", "examples": TWO}),
    ("GET", "/v1/learners/{id}", None),
    ("POST", "/v1/learners/{id}/predict", {"inputs": [row(1, 2, 3)]}),
    ("POST", "/v1/learners/{id}/examples", {"examples": TWO}),
    ("POST", "/v1/learners/{id}/readapt", None),
    ("GET", "/v1/learners/{id}/export", None),
    ("DELETE", "/v1/learners/{id}/classes/high", None),
    ("GET", "/v1/learners/{id}/examples", None),
    ("DELETE", "/v1/learners/{id}/examples/5d41402abc4b2a76b9719d911017c592", None),
    ("DELETE", "/v1/learners/{id}", None),
]


@pytest.mark.parametrize(("method", "path", "body"), ASKS)
def test_nothing_without_a_key(server: Running, method: str, path: str, body: object) -> None:
    wrong = server.store.add_key("mallory")[:-1] + "x"
    for headers in ({}, {"Authorization": f"Bearer {wrong}"}, {"Authorization": "Basic YTpi"}, {"Authorization": ""}):
        answer = server.ask(method, path.format(id="0" * 32), body, **headers)
        assert (answer.status, answer.code) == (401, "unauthorized")
        assert answer.headers["www-authenticate"].startswith("Bearer")


def test_health_and_metrics_need_none(server: Running) -> None:
    for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
        assert server.ask("GET", path).status == 200


def test_anothers_learner_is_answered_as_one_that_does_not_exist(server: Running) -> None:
    alice, bob = server.store.add_key("alice"), server.store.add_key("bob")
    made = server.ask("POST", "/v1/learners", {"model": "vector", "examples": TWO}, key=alice)
    own, never = made.body["id"], "f" * 32

    def seen(answer: Answer) -> tuple[object, ...]:
        return answer.status, answer.body, {name for name in answer.headers if name != "x-request-id"}

    for method, path, body in ASKS:
        if "{id}" in path:
            others = server.ask(method, path.format(id=own), body, key=bob)
            nothing = server.ask(method, path.format(id=never), body, key=bob)
            assert (others.status, others.code) == (404, "not_found")
            assert seen(others) == seen(nothing)
    assert server.ask("GET", "/v1/learners", key=bob).body["learners"] == []
    assert server.ask("GET", f"/v1/learners/{own}", key=alice).body["classes"] == made.body["classes"]


def test_only_the_admin_loads_models(server: Running) -> None:
    path = "/v1/models/vector/reload"
    assert server.ask("POST", path, key=server.store.add_key("alice")).code == "forbidden"
    answer = server.ask("POST", path, key=server.store.add_key("admin"))
    assert (answer.status, answer.body["changed"]) == (200, False)


def test_a_revoked_key_opens_nothing(server: Running) -> None:
    key = server.store.add_key("carol")
    assert server.ask("GET", "/v1/learners", key=key).status == 200
    (known,) = server.store.keys("carol")
    server.store.revoke(known.id)
    assert server.ask("GET", "/v1/learners", key=key).code == "unauthorized"


def test_a_tenant_has_no_more_learners_than_it_may(server: Running) -> None:
    key = server.store.add_key("dave")
    server.store.set_quota("dave", 1)
    body = {"model": "vector", "examples": TWO}
    assert server.ask("POST", "/v1/learners", body, key=key).status == 201
    assert server.ask("POST", "/v1/learners", body, key=key).code == "too_many_learners"


def test_an_open_server_answers_no_page_of_another_site(tmp_path_factory: pytest.TempPathFactory) -> None:
    running = Running(tmp_path_factory.mktemp("open"), bundle(), hosts=("localhost", "127.0.0.1"))
    running.start()
    try:
        own = f"127.0.0.1:{running.port}"
        assert running.ask("GET", "/v1/models").status == 200
        assert running.ask("GET", "/v1/models", Origin=f"http://{own}").status == 200
        assert running.ask("GET", "/v1/models", Origin="http://evil.example").code == "foreign_site"
        assert running.ask("GET", "/v1/models", Origin="null").code == "foreign_site"
        assert running.ask("GET", "/v1/models", Host=f"evil.example:{running.port}").code == "foreign_site"
        assert running.ask("GET", "/v1/models", Host="LOCALHOST").status == 200
    finally:
        running.stop()
