"""Packages that only some users need: each comes with an extra, and is imported when it is first used."""

from __future__ import annotations

import importlib
from typing import Any

from quickstudy.errors import ExtraError

__all__ = ["extra"]


def extra(module: str, name: str) -> Any:
    """The module of a package that comes with the extra `name`.

    Raises:
        ExtraError: it is not installed, or cannot be imported.
    """
    try:
        return importlib.import_module(module)
    except (ImportError, RuntimeError) as error:  # a package beside a torch that it was not built for raises either
        package = module.partition(".")[0]
        raise ExtraError(
            f"{package} cannot be imported: {error}. It comes with an extra: pip install 'quickstudy[{name}]'."
        ) from error
