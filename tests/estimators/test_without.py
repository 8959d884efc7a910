"""Without scikit-learn the rest of the package works, and the estimators say what they need."""

import subprocess
import sys

CODE = """
import sys
sys.modules["sklearn"] = None
import quickstudy
from quickstudy import *
try:
    quickstudy.FewShotClassifier
except ImportError as error:
    print(type(error).__name__, error)
"""


def test_without_scikit_learn():
    done = subprocess.run([sys.executable, "-W", "error", "-c", CODE], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("ExtraError sklearn cannot be imported")
    assert "pip install 'quickstudy[sklearn]'" in done.stdout
