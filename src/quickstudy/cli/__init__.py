"""The command line `quickstudy`: train, evaluate, compare, adapt, report, list, check, demo.

Nothing here imports torch before a command needs it, so that help is quick.
"""

from quickstudy.cli.app import main

__all__ = ["main"]
