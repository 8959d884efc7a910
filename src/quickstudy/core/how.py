"""How tasks may be taken, in words: what only names the ways need not wait for torch."""

from __future__ import annotations

from typing import Literal

__all__ = ["AskedHow", "How"]

How = Literal["map", "loop"]
"""Together, or one after the other."""
AskedHow = Literal["auto", "map", "loop"]
"""As may be asked for; `quickstudy.core.lift.plan` makes one of the others of auto."""
