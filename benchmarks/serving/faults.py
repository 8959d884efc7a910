"""What a server does when something goes wrong under load: nothing acknowledged is lost, no answer is wrong.

    python benchmarks/serving/faults.py                        # all of it: about ten minutes
    python benchmarks/serving/faults.py --only killed swapped  # some

Every part asserts what it shows and ends with an error where it does not hold; the record is
`benchmarks/results/serving-faults.json`. Parts that need a small disk mount one in memory, which takes root; those on
PostgreSQL start a server of their own. Parts that this machine does not allow are named with the reason.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

from served import Served, bundle, examples
from users import Learner, Users, answer_of, state_of

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results" / "serving-faults.json"
LAST_BITS = 1e-4  # of a probability: requests computed together differ from those computed alone by less


class CannotError(Exception):
    """A part that this machine does not allow."""


def killed(folder: Path, db: str = "", seconds: float = 8, rounds: int = 3, batch: int = 64) -> dict[str, Any]:
    """kill -9 in mid-load and a restart, several times."""
    made = bundle(folder / "bundle")
    server = Served([made], db or sqlite(folder), folder, "--batch", str(batch))
    server.start()
    users = Users(server)
    for _ in range(rounds):
        with users.at_work():
            time.sleep(seconds)
            server.kill()
        server.start()
        found = users.check(0.0 if batch == 1 else LAST_BITS)
    server.stop()
    assert found["there, as acknowledged"] > 0
    return {"kills": rounds, "batch": batch, "answers": users.answers, "after the last restart": found}


def killed_one_by_one(folder: Path) -> dict[str, Any]:
    """The same, each request computed alone: answers are then equal to the last bit too."""
    return killed(folder, batch=1)


def killed_on_postgres(folder: Path) -> dict[str, Any]:
    """The same on PostgreSQL, whose server lives on."""
    with closing(postgres()) as database:
        return killed(folder, database.database(), rounds=1)


def full(folder: Path) -> dict[str, Any]:
    """A disk that fills up under load, and has room again."""
    disk = folder / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "quickstudy", str(disk)], capture_output=True, check=False
    )
    if mounted.returncode:
        raise CannotError("a small disk in memory cannot be mounted: it takes root")
    try:
        ballast = disk / "ballast"
        ballast.write_bytes(bytes(3_400_000))
        with Served([bundle(folder / "bundle")], sqlite(disk), folder) as server:
            users = Users(server)
            with users.at_work():
                wait(lambda: users.answers["create: 507 store_full"] > 30, 240)
            check_while_full = users.check(LAST_BITS)
            assert server.client().ask("GET", "/readyz")[0] == 200
            ballast.unlink()
            before = users.answers["create: 201"]
            with users.at_work():
                wait(lambda: users.answers["create: 201"] > before + 10)
            server.kill()
            server.start()
            return {
                "answers": users.answers,
                "while it was full": check_while_full,
                "after room was made, and a kill": users.check(LAST_BITS),
            }
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=True)


def locked(folder: Path) -> dict[str, Any]:
    """Another process holds the database's lock for longer than the server waits."""
    with Served([bundle(folder / "bundle")], sqlite(folder), folder) as server:
        users, client = Users(server), server.client()
        body = {"model": "characters", "examples": examples(600, 5, 1)}
        mine = Learner(600, client.ask("POST", "/v1/learners", body)[1]["id"], {})
        with users.at_work():
            time.sleep(4)
            with closing(sqlite3.connect(folder / "learners.db", isolation_level=None, timeout=30)) as other:
                other.execute("BEGIN IMMEDIATE")
                before, asked, until = users.answers.copy(), 0, time.monotonic() + 9
                while time.monotonic() < until:
                    assert answer_of(client, mine), "who only asks need not wait"
                    asked += 1
                during = users.answers - before
                other.execute("ROLLBACK")
            time.sleep(4)
        assert asked > 5
        assert sum(during[f"{what}: 503 store_busy"] for what in ("create", "add", "delete")) > 0
        during["asked by another who only asks: 200"] = asked
        return {"locked for seconds": 9, "meanwhile": during, "in all": users.answers, "after": users.check(LAST_BITS)}


def damaged_database(folder: Path) -> dict[str, Any]:
    """A learner's bytes altered on the disk; then the file's head."""
    db = folder / "learners.db"
    with Served([bundle(folder / "bundle")], sqlite(folder), folder) as server:
        users = Users(server)
        with users.at_work():
            time.sleep(6)
        server.stop()
        victim = next(each for each in users.learners if not each.deleted and not each.unsure)
        with closing(sqlite3.connect(db)) as opened:
            (state,) = opened.execute("SELECT state FROM quickstudy_learners WHERE id = ?", [victim.id]).fetchone()
        content = bytearray(db.read_bytes())
        content[next(at for at in map(content.find, windows(state)) if at >= 0)] ^= 1
        db.write_bytes(content)
        server.start()
        client = server.client()
        status, told = client.ask("POST", f"/v1/learners/{victim.id}/predict", {"inputs": examples_of(victim)})
        assert (status, told["error"]["code"]) == (500, "store_damaged"), (status, told)
        users.learners.remove(victim)
        others = users.check(LAST_BITS)
        server.stop()
        content[:100] = os.urandom(100)
        db.write_bytes(content)
        said = server.refused()
        assert "is damaged" in said, said
        assert "Traceback" not in said, said
        server._process = None
    return {
        "a bit of a learner": f"{status} {told['error']['code']}",
        "other learners": others,
        "the head of the file": said.strip().splitlines()[-1].replace(str(folder), "..."),
    }


def damaged_bundle(folder: Path) -> dict[str, Any]:
    """Weights altered while the server runs, before it starts, and with no copy to fall back on."""
    made = bundle(folder / "bundle")
    weights = made / "weights.safetensors"
    with Served([made], sqlite(folder), folder) as server:
        users = Users(server)
        with users.at_work():
            time.sleep(3)
            damaged = bytearray(weights.read_bytes())
            damaged[-10] ^= 1
            weights.write_bytes(damaged)
            wait(lambda: server.client().ask("GET", "/readyz")[1]["problems"])
            time.sleep(2)
        status, ready = server.client().ask("GET", "/readyz")
        assert status == 200
        running = users.check(LAST_BITS)
        server.kill()
        server.start()
        restarted = users.check(LAST_BITS)
        server.stop()
        shutil.rmtree(folder / "versions")
        said = server.refused()
        assert "Traceback" not in said, said
        server._process = None
    bad = [each for each in users.answers if ": 2" not in each]
    assert not bad, users.answers
    return {
        "said in /readyz": ready["problems"][0].replace(str(folder), "..."),
        "requests meanwhile": users.answers,
        "learners while it ran": running,
        "after a restart, from the copy": restarted,
        "without a copy it refuses to start": said.strip().splitlines()[-1].replace(str(folder), "..."),
    }


def swapped(folder: Path, seconds: float = 6) -> dict[str, Any]:
    """A new version of the model takes the place of the old one under load."""
    made = bundle(folder / "bundle")
    with Served([made], sqlite(folder), folder, "--watch", "0.5") as server:
        client = server.client()
        users, followers = Users(server, keep=False), []
        for number in range(500, 520):
            body = {"model": "characters", "examples": examples(number, 5, 1)}
            followers.append(Learner(number, "", client.ask("POST", "/v1/learners", body)[1]))
        old = client.ask("GET", "/v1/models/characters")[1]["version"]
        with users.at_work():
            time.sleep(seconds / 2)
            bundle(made, seed=1)
            wait(lambda: client.ask("GET", "/v1/models/characters")[1]["version"] != old)
            new = client.ask("GET", "/v1/models/characters")[1]["version"]
            time.sleep(seconds / 2)
        versions = [each.told["version"] for each in users.learners]
        bad = [each for each in users.answers if ": 2" not in each]
        assert not bad, users.answers
        assert set(versions) == {old, new}
        for each in users.learners:
            each.told["newest"] = each.told["version"] == new
        stayed = users.check(LAST_BITS)
        wait(lambda: all(client.ask("GET", f"/v1/learners/{f.told['id']}")[1]["version"] == new for f in followers))
        for each in followers:
            body = {"model": "characters", "examples": examples(each.number, 5, 1)}
            fresh = client.ask("POST", "/v1/learners", body)[1]["id"]
            each.id = each.told["id"]
            assert state_of(client, each.id) == state_of(client, fresh) or near(client, each, fresh)
        return {
            "requests": users.answers,
            "made with the old version": versions.count(old),
            "made with the new one": versions.count(new),
            "learners without kept examples stay as they were": stayed,
            "learners with kept examples followed": len(followers),
        }


def postgres_restarted(folder: Path) -> dict[str, Any]:
    """PostgreSQL stopped and started under load: tidily, then as in a crash."""
    with closing(postgres()) as database, Served([bundle(folder / "bundle")], database.database(), folder) as server:
        users = Users(server)
        pauses = []
        with users.at_work():
            for how in (signal.SIGINT, signal.SIGQUIT):
                time.sleep(4)
                began = time.monotonic()
                database.stop(how)
                time.sleep(1)
                database.start()
                before = users.answers["create: 201"]
                wait(lambda before=before: users.answers["create: 201"] > before)
                pauses.append(round(time.monotonic() - began, 2))
            time.sleep(4)
        return {
            "seconds until the next learner, from stopping it (it was away for one)": pauses,
            "answers": users.answers,
            "after": users.check(LAST_BITS),
        }


def worker_killed(folder: Path) -> dict[str, Any]:
    """Each of three workers on one PostgreSQL database killed under load, one by one: others go on, it is replaced."""
    with closing(postgres()) as database:
        made = bundle(folder / "bundle")
        with Served([made], database.database(), folder, "--workers", "3") as server:
            users, before = Users(server), workers(server.pid)
            with users.at_work():
                time.sleep(4)
                for number, each in enumerate(before, start=1):
                    os.kill(each, signal.SIGKILL)
                    wait(lambda number=number: len(set(workers(server.pid)) - set(before)) == number)
                    time.sleep(6)
            assert len(before) == len(workers(server.pid)) == 3
            assert any("cut off" in each for each in users.answers)
            return {"answers": users.answers, "after": users.check(LAST_BITS)}


PARTS: dict[str, Callable[[Path], dict[str, Any]]] = {
    part.__name__: part
    for part in (
        killed,
        killed_one_by_one,
        killed_on_postgres,
        full,
        locked,
        damaged_database,
        damaged_bundle,
        swapped,
        postgres_restarted,
        worker_killed,
    )
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=PARTS, default=list(PARTS))
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    found = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    for name in asked.only:
        with tempfile.TemporaryDirectory() as folder:
            print(f"{name}: {(PARTS[name].__doc__ or '').splitlines()[0]}", flush=True)
            began = time.monotonic()
            try:
                found[name] = PARTS[name](Path(folder)) | {"seconds": round(time.monotonic() - began, 1)}
            except CannotError as error:
                found[name] = {"not shown here": str(error)}
            except BaseException:
                log = Path(folder) / "server.log"
                print(log.read_text()[-4000:] if log.exists() else "", file=sys.stderr)
                raise
            print(json.dumps(found[name], indent=1), flush=True)
            asked.out.write_text(json.dumps(found, indent=1) + "\n")


def sqlite(folder: Path) -> str:
    return f"sqlite:///{folder / 'learners.db'}"


def postgres() -> Any:
    """A running PostgreSQL server of this script's own."""
    sys.path.insert(0, str(ROOT / "tests"))
    from serve.postgres import Server, missing

    if reason := missing():
        raise CannotError(reason)
    made = Server()
    made.start()
    return made


def workers(pid: int) -> list[int]:
    """The processes that a server of several has started to serve."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [int(each) for each in children if b"spawn_main" in Path(f"/proc/{each}/cmdline").read_bytes()]


def wait(until: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until something holds.

    Raises:
        TimeoutError: it does not come to hold.
    """
    end = time.monotonic() + seconds
    while not until():
        if time.monotonic() > end:
            raise TimeoutError("what was waited for has not come")
        time.sleep(0.1)


def examples_of(learner: Learner) -> list[dict[str, str]]:
    return [{"image": each["image"]} for each in examples(learner.number, 2, 1)]


def windows(state: bytes) -> list[bytes]:
    """Pieces of a state: one of them lies in a page of the file as a whole."""
    return [state[at : at + 32] for at in range(len(state) - 64, 0, -32)]


def near(client: Any, learner: Learner, fresh: str) -> bool:
    """Whether a learner that followed answers as one made anew, but for the last bits."""
    one, other = (answer_of(client, Learner(learner.number, id, {})) for id in (learner.id, fresh))
    return all(
        abs(a["probabilities"][name] - b["probabilities"][name]) < LAST_BITS
        for a, b in zip(one, other, strict=True)
        for name in a["probabilities"]
    )


if __name__ == "__main__":
    main()
