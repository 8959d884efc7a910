"""Every Python snippet of the README and of the documentation runs, a page at a time, top to bottom."""

import re
from pathlib import Path

import pytest

from quickstudy.errors import ExtraError

ROOT = Path(__file__).parent.parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
SNIPPET = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "snippet"}
    for code in SNIPPET.findall(page.read_text()):
        try:
            exec(compile(code, str(page), "exec", dont_inherit=True), names)
        except ExtraError as error:
            pytest.skip(str(error))
