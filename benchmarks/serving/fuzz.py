"""Bad input: what the OpenAPI document allows and forbids, by schemathesis, and damaged images, arrays and forms.

    python benchmarks/serving/fuzz.py                      # 12,000 requests of each: about twenty minutes
    python benchmarks/serving/fuzz.py --cases 500          # does it run?

No answer may be a 500 or take longer than a request may, no connection may break, every error has the one form, and the
server's memory stays bounded. Schemathesis also holds every answer to what the document says of it. The record is
`benchmarks/results/serving-fuzz.json`; `pip install schemathesis` first.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from served import Client, Served, examples
from strange import Strange, strange

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "benchmarks"))
from harness.results import machine  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results" / "serving-fuzz.json"
CLIENTS = 8
SLOWEST = 30.0  # seconds that a request may take at all


def models(folder: Path) -> list[Path]:
    """A model for each kind of input; the one for texts counts letters, so that nothing has to be downloaded."""
    from letters import Letters

    from quickstudy.bundle import Bundle
    from quickstudy.core.settings import load
    from quickstudy.encoders import Encoder, ImageEncoder, VectorEncoder
    from quickstudy.train.parts import Parts

    encoders: dict[str, Encoder] = {
        "image": ImageEncoder(item=(1, 28, 28)),
        "vector": VectorEncoder(item=(3,)),
        "text": Letters(),
    }
    for name, encoder in encoders.items():
        parts = Parts(load("method", "protonet"), load("net", {"name": "mlp", "hidden": [16]}), encoder.item, 5)
        Bundle(parts.build(0), encoder, name=name, outputs=5, parts=parts).save(folder / name)
    return [folder / name for name in encoders]


def learners(client: Client) -> dict[str, str]:
    """A learner of each model."""
    made = {}
    some = {
        "image": examples(0, 2, 1),
        "vector": [{"class": name, "vector": [at, 1.0, 2.0]} for at, name in enumerate("ab")],
        "text": [{"class": name, "text": name} for name in "ab"],
    }
    for name, support in some.items():
        status, said = client.ask("POST", "/v1/learners", {"model": name, "examples": support})
        assert status == 201, said
        made[name] = said["id"]
    return made


def decoders(server: Served, cases: int) -> dict[str, Any]:
    """Damaged images, arrays, texts and forms, and plain noise."""
    own = learners(server.client())
    statuses: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    wrong: list[dict[str, Any]] = []
    slowest = 0.0

    def some(worker: int) -> None:
        nonlocal slowest
        client = server.client()
        for number in range(worker, cases, CLIENTS):
            asked = strange(number, own)
            began = time.perf_counter()
            trouble = one(client, asked, statuses)
            slowest = max(slowest, time.perf_counter() - began)
            kinds[asked.what.partition(" ")[0]] += 1
            if trouble:
                wrong.append({"number": number, "what": asked.what, "trouble": trouble})

    before = server.memory()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(some, range(CLIENTS)))
    return {
        "cases": cases,
        "kinds": dict(kinds),
        "statuses": dict(sorted(statuses.items())),
        "wrong": wrong[:20],
        "wrong_in_all": len(wrong),
        "slowest_s": round(slowest, 2),
        "memory_mb": {"before": round(before["now"]), "after": round(server.memory()["now"])},
    }


def one(client: Client, asked: Strange, statuses: Counter[str]) -> str:
    """What was wrong with the answer to a request; "" where nothing was."""
    try:
        status, said = client.ask("POST", asked.path, asked.body, asked.kind)
    except OSError as error:
        return f"the connection broke: {error}"
    statuses[str(status)] += 1
    if status >= 500:
        return f"status {status}: {said}"
    if status >= 400 and not (isinstance(said, dict) and said.keys() == {"error"}):
        return f"an error of another form: {said!r:.200}"
    return ""


def document(server: Served, cases: int) -> dict[str, Any]:
    """Schemathesis on every address of the OpenAPI document, with bodies that it allows and that it forbids."""
    client = server.client()
    ids = [id for _ in range(60) for id in learners(client).values()]
    listed = [client.ask("GET", f"/v1/learners/{id}/examples")[1]["examples"] for id in ids[:3]]
    names = {"id": ids, "example": [each["id"] for some in listed for each in some]}
    program = shutil.which("schemathesis") or str(Path(sys.executable).with_name("schemathesis"))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(pointed(client.ask("GET", "/openapi.json")[1], names), file)
        file.flush()
        checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
        words = ["run", file.name, "--url", f"http://127.0.0.1:{server.port}", "--max-examples", str(cases)]
        words += ["--mode", "all", "--checks", checks, "--seed", "1", "--continue-on-failure", "--no-color"]
        done = subprocess.run(
            [program, *words, "--phases", "examples,coverage,fuzzing"],
            capture_output=True,
            text=True,
            check=False,
            timeout=3600,
        )
    count = re.search(r"(\d[\d,]*) generated", done.stdout)
    summary = done.stdout.partition(" SUMMARY ")[2] or done.stdout[-3000:]
    return {
        "passed": done.returncode == 0,
        "test_cases": int(count[1].replace(",", "")) if count else None,
        "said": [line.rstrip() for line in summary.splitlines() if line.strip(" =")],
    }


def pointed(document: dict[str, Any], names: dict[str, list[str]]) -> dict[str, Any]:
    """The document with the names of what there is, so that requests get past the first look."""
    known = names | {"model": ["image", "vector", "text"], "label": ["a", "b", "c"]}
    for methods in document["paths"].values():
        for told in methods.values():
            for parameter in told.get("parameters", []):
                if parameter["in"] == "path":
                    parameter["schema"] = {"type": "string", "enum": known[parameter["name"]]}
                    parameter.pop("examples", None)
                    parameter.pop("example", None)
    fields = document["components"]["schemas"]["CreateRequest"]["properties"]
    fields["model"] = {"type": "string", "enum": known["model"]}
    return document


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=12_000)
    parser.add_argument("--only", nargs="+", choices=["decoders", "document"], default=["decoders", "document"])
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    found = json.loads(asked.out.read_text()) if asked.out.exists() else {}
    found |= {"part": "serving-fuzz", "machine": machine()}
    path = str(Path(__file__).parent)
    for part, count in (("decoders", asked.cases), ("document", max(1, asked.cases // 60))):
        if part not in asked.only:
            continue
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            made = models(folder)
            server = Served(made, f"sqlite:///{folder / 'learners.db'}", folder, PYTHONPATH=path)
            with server:
                began = time.monotonic()
                found[part] = {"decoders": decoders, "document": document}[part](server, count)
                found[part]["seconds"] = round(time.monotonic() - began, 1)
                found[part]["memory_most_mb"] = round(server.memory()["most"])
                unforeseen = server.log().count('"unforeseen_error"')
                found[part]["unforeseen_errors_in_the_log"] = unforeseen
        print(json.dumps(found[part], indent=1), flush=True)
    asked.out.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
