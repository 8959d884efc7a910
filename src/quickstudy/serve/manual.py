"""The OpenAPI document as a page: every address with its examples, without scripts and without outside hosts."""

from __future__ import annotations

import html
import json
from collections.abc import Iterator
from typing import Any

__all__ = ["manual"]

_HEAD = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark"><title>{title}: the interface</title>
<link rel="icon" href="page/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="page/manual.css"></head><body><main>
<h1>{title} <small>{version}</small></h1>"""


def manual(document: dict[str, Any]) -> str:
    """The whole page."""
    return "\n".join(_parts(document))


def _parts(document: dict[str, Any]) -> Iterator[str]:
    about = document["info"]
    yield _HEAD.format(title=html.escape(about["title"]), version=html.escape(about["version"]))
    yield from (f"<p>{_marked(text)}</p>" for text in about["description"].strip().split("\n\n"))
    yield '<p><a href="openapi.json">The OpenAPI document</a> is for programs, <a href="./">the page</a> for hands.</p>'
    tag = ""
    for path, methods in document["paths"].items():
        for method, told in methods.items():
            if told["tags"][0] != tag:
                tag = told["tags"][0]
                yield f"<h2>{html.escape(tag.capitalize())}</h2>"
            yield from _one(path, method, told)
    yield "<h2>What is in a body</h2>"
    for name, schema in document["components"]["schemas"].items():
        yield from _schema(name, schema)
    yield "</main></body></html>"


def _one(path: str, method: str, told: dict[str, Any]) -> Iterator[str]:
    address = f"<code>{method.upper()} {html.escape(path)}</code>"
    yield f"<details><summary>{address} {html.escape(told['summary'])}</summary>"
    yield f"<p>{_marked(told.get('description', ''))}</p>"
    given = [
        f"<li><code>{html.escape(each['name'])}</code> ({each['in']}): {html.escape(each.get('description', ''))}</li>"
        for each in told.get("parameters", [])
    ]
    if given:
        yield f"<ul>{''.join(given)}</ul>"
    content = told.get("requestBody", {}).get("content", {})
    for name, example in content.get("application/json", {}).get("examples", {}).items():
        body = json.dumps(example["value"], ensure_ascii=False)
        yield f"<h3>{html.escape(name.capitalize())}</h3>{_code(_curl(method, path, body, 'security' in told))}"
    if not content:
        yield _code(_curl(method, path, None, "security" in told))
    for status, answer in told["responses"].items():
        yield f"<p><b>{status}</b> {html.escape(answer['description'])}</p>"
        example = answer.get("content", {}).get("application/json", {}).get("example")
        if example is not None:
            yield _code(json.dumps(example, indent=2, ensure_ascii=False))
    yield "</details>"


def _curl(method: str, path: str, body: str | None, key: bool) -> str:
    words = ["curl"] if method == "get" else ["curl", "-X", method.upper()]
    if key:
        words.append('-H "Authorization: Bearer $KEY"')
    if body is not None:
        words.append(f"-H 'Content-Type: application/json' \\\n  -d '{body}' \\\n ")
    return f'{" ".join(words)} "$SERVER{path}"'


def _schema(name: str, schema: dict[str, Any]) -> Iterator[str]:
    yield f"<details><summary><code>{html.escape(name)}</code> {_marked(schema.get('description', ''))}</summary><ul>"
    for field, told in schema.get("properties", {}).items():
        needed = "" if field in schema.get("required", []) else " (optional)"
        yield f"<li><code>{html.escape(field)}</code>{needed}: {_marked(told.get('description', ''))}</li>"
    yield "</ul></details>"


def _code(text: str) -> str:
    return f"<pre><code>{html.escape(text)}</code></pre>"


def _marked(text: str) -> str:
    """Text with `code` and *emphasis*."""
    words = html.escape(text, quote=False).split("`")
    shown = "".join(f"<code>{word}</code>" if at % 2 else word for at, word in enumerate(words))
    pieces = shown.split("*")
    return f"{pieces[0]}<em>{pieces[1]}</em>{pieces[2]}" if len(pieces) == 3 else shown
