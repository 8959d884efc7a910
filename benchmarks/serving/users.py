"""Users of a server who remember what it acknowledged, and look whether that is still so."""

from __future__ import annotations

import hashlib
import io
import random
import threading
import zipfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from served import Client, Served, examples, picture

__all__ = ["Learner", "Users", "answer_of", "state_of"]

UNDONE = {"store_busy", "store_full", "store_quota", "busy", "too_many_requests", "stopping"}
"""What refusals promise to have changed nothing."""


@dataclass
class Learner:
    """What one user knows of a learner."""

    number: int
    id: str
    told: dict[str, Any]
    """The server's last answer about it."""
    state: str = ""
    """A hash of its tensors, as they were exported after that."""
    answer: Any = None
    """What it said of a picture."""
    unsure: bool = False
    """Whether a request to change it was never answered."""
    deleted: bool = False


@dataclass
class Users:
    """Threads that make learners, ask them, add to them and delete them, each its own."""

    server: Served
    threads: int = 8
    ways: int = 5
    keep: bool = True
    key: str | None = None
    learners: list[Learner] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    """How many requests of each kind came back with each status; "cut off" where none came."""
    _numbers: Iterator[int] = field(default_factory=lambda: iter(range(10**9)))
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """All of them at work for the length of a `with` block."""
        self._stop.clear()
        errors: list[BaseException] = []

        def run(seed: int) -> None:
            try:
                self._work(random.Random(seed))
            except BaseException as error:  # shown by the thread that waits
                errors.append(error)

        own = [threading.Thread(target=run, args=[seed]) for seed in range(self.threads)]
        for each in own:
            each.start()
        try:
            yield
        finally:
            self._stop.set()
            for each in own:
                each.join()
        if errors:
            raise errors[0]

    def check(self, tolerance: float = 0.0) -> dict[str, float]:
        """Ask for everything that was acknowledged, one request at a time.

        Args:
            tolerance: How far probabilities may be apart. Requests that are computed together differ in the last bits
                from those computed alone; what is stored does not.

        Returns:
            How many learners were as acknowledged, and the largest difference of a probability.
        """
        client = self.server.client(self.key)
        found: Counter[str] = Counter()
        most = 0.0
        for each in self.learners:
            status, told = client.ask("GET", f"/v1/learners/{each.id}")
            if each.unsure:
                found["not known to be changed or not"] += 1
                assert status == 404 or (
                    status == 200 and told["classes"][0]["name"] == each.told["classes"][0]["name"]
                )
                continue
            if each.deleted:
                assert status == 404, f"{each.id} was deleted, and is back"
                found["deleted, and gone"] += 1
                continue
            assert status == 200, (status, told, each)
            assert told == each.told, f"{told} is not {each.told}"
            if each.state:
                assert state_of(client, each.id) == each.state, f"the tensors of {each.id} are others"
                found["tensors equal, bit for bit"] += 1
            if each.answer is not None:
                said = answer_of(client, each)
                apart = _apart(said, each.answer)
                assert apart <= tolerance, f"{said} is not {each.answer}"
                most = max(most, apart)
                found["answers equal" + (" but for last bits" if tolerance else ", bit for bit")] += 1
            found["there, as acknowledged"] += 1
        client.close()
        return dict(found) | ({"largest difference of a probability": most} if tolerance else {})

    def _work(self, chance: random.Random) -> None:
        client = self.server.client(self.key)
        own: list[Learner] = []
        while not self._stop.is_set():
            live = [each for each in own if not each.deleted and not each.unsure]
            act = chance.random()
            if len(live) < 2 or act < 0.3:
                self._create(client, own)
            elif act < 0.6:
                self._predict(client, chance.choice(live))
            elif act < 0.9 and self.keep:
                self._add(client, chance.choice(live))
            else:
                self._delete(client, chance.choice(live))
        client.close()

    def _create(self, client: Client, own: list[Learner]) -> None:
        with self._lock:
            number = next(self._numbers)
        body = {"model": "characters", "keep": self.keep, "examples": examples(number, self.ways, 1)}
        done, told = self._ask(client, "create", "POST", "/v1/learners", body)
        if done:
            made = Learner(number, told["id"], told)
            own.append(made)
            with self._lock:
                self.learners.append(made)
            self._look(client, made)

    def _predict(self, client: Client, learner: Learner) -> None:
        body = {"inputs": [{"image": picture(learner.number * self.ways, 1000)}]}
        self._ask(client, "predict", "POST", f"/v1/learners/{learner.id}/predict", body)

    def _add(self, client: Client, learner: Learner) -> None:
        more = {"class": str(learner.number * self.ways), "image": picture(learner.number * self.ways, 7)}
        done, told = self._ask(client, "add", "POST", f"/v1/learners/{learner.id}/examples", {"examples": [more]})
        learner.unsure = done is None
        if done:
            learner.told, learner.state, learner.answer = told, "", None
            self._look(client, learner)

    def _delete(self, client: Client, learner: Learner) -> None:
        done, _ = self._ask(client, "delete", "DELETE", f"/v1/learners/{learner.id}")
        learner.unsure, learner.deleted = done is None, bool(done)

    def _look(self, client: Client, learner: Learner) -> None:
        """Take down what it is and what it says, while others are at work."""
        try:
            learner.state = state_of(client, learner.id)
            learner.answer = answer_of(client, learner)
        except (OSError, AssertionError):
            self._count("look: not answered")

    def _ask(self, client: Client, what: str, method: str, path: str, body: Any = None) -> tuple[bool | None, Any]:
        """Whether a request was done, and its answer; None where nobody knows."""
        try:
            status, told = client.ask(method, path, body)
        except OSError:
            self._count(f"{what}: cut off")
            return None, None
        code = told["error"]["code"] if status >= 400 and isinstance(told, dict) and "error" in told else ""
        self._count(f"{what}: {status} {code}".rstrip(), rest=status >= 400)
        if status < 400:
            return True, told
        return (False if code in UNDONE else None), None

    def _count(self, what: str, rest: bool = True) -> None:
        with self._lock:
            self.answers[what] += 1
        if rest:
            self._stop.wait(0.05)


def state_of(client: Client, id: str) -> str:
    """A hash of a learner's tensors."""
    status, content = client.ask("GET", f"/v1/learners/{id}/export")
    assert status == 200, (status, content)
    with zipfile.ZipFile(io.BytesIO(content)) as opened:
        return hashlib.sha256(opened.read("learner.safetensors")).hexdigest()


def answer_of(client: Client, learner: Learner, ways: int = 5) -> Any:
    """What a learner says of a picture that is always the same."""
    body = {"inputs": [{"image": picture(learner.number * ways + 1, 500)}]}
    status, told = client.ask("POST", f"/v1/learners/{learner.id}/predict", body)
    assert status == 200, (status, told)
    return told["predictions"]


def _apart(one: Any, other: Any) -> float:
    """The largest difference of two probabilities; infinite where anything else differs."""
    most = 0.0
    for a, b in zip(one, other, strict=True):
        if a["class"] != b["class"] or a["probabilities"].keys() != b["probabilities"].keys():
            return float("inf")
        most = max(most, *(abs(a["probabilities"][name] - b["probabilities"][name]) for name in a["probabilities"]))
    return most
