"""`quickstudy push` and `quickstudy pull`: bundles to and from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from quickstudy.cli import screen
from quickstudy.cli.screen import Switch

__all__ = ["PULL_EXAMPLES", "PUSH_EXAMPLES", "pull", "push"]

PUSH_EXAMPLES = """\
Examples:
  hf auth login                            once, with a token that may write
  quickstudy push letters me/letters       private, unless --public
"""

PULL_EXAMPLES = """\
Examples:
  quickstudy pull me/letters letters
  quickstudy pull me/letters letters --revision COMMIT   always the same files
"""


def push(bundle: Path, repository: str, /, *, public: Switch = False) -> int:
    """Put a bundle on the Hugging Face hub, in one commit. The repository is made if it is not there.

    It is checked against its hashes first. Needs the extra: pip install 'quickstudy[hub]'.

    Args:
        bundle: A bundle's folder.
        repository: OWNER/NAME.
        public: Let everybody see a repository that is made now.
    """
    from quickstudy.bundle import hub

    done = hub.push(bundle, repository, private=not public)
    screen.say(f"Pushed to {done.repository}: commit {done.commit}.")
    screen.say(f"Get it: quickstudy pull {done.repository} FOLDER --revision {done.commit}")
    return 0


def pull(
    repository: str,
    folder: Path,
    /,
    *,
    revision: str | None = None,
    own_code: Switch = False,
    replace: Switch = False,
) -> int:
    """Get a bundle from the Hugging Face hub. The folder appears once all in it is checked, or not at all.

    Only the bundle's own files are fetched, and nothing in them is run. Needs the extra: pip install 'quickstudy[hub]'.

    Args:
        repository: OWNER/NAME.
        folder: Where to put it.
        revision: A commit, branch or tag. A commit always means the same files.
        own_code: Let the bundle name classes outside quickstudy, which are imported from what is installed here.
        replace: Replace a bundle that stands there.
    """
    from quickstudy.bundle import hub

    found = hub.pull(repository, folder, revision=revision, own_code=bool(own_code), replace=bool(replace))
    screen.say(f"{found.name}, version {found.version}, is in {folder}.")
    screen.say(f"Use it: quickstudy adapt {folder} CLASSES FILES, or quickstudy serve {folder}.")
    return 0
