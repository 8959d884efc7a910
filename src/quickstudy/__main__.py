"""`python -m quickstudy`, and so `torchrun -m quickstudy`: the command line."""

import sys

from quickstudy.cli import main

if __name__ == "__main__":
    sys.exit(main())
