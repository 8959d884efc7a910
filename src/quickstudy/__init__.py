"""quickstudy: meta-learning in PyTorch. Support in, specialist out."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from quickstudy.bundle import Bundle
    from quickstudy.checks import check_method
    from quickstudy.core.episode import Episode, Examples
    from quickstudy.core.learner import MetaLearner, QueryScored, Tags
    from quickstudy.core.lift import over_tasks
    from quickstudy.core.predictions import Categorical, Gaussian, Mixture, Prediction
    from quickstudy.errors import QuickstudyError
    from quickstudy.estimators import FewShotClassifier as FewShotClassifier  # in no __all__: they come with an extra
    from quickstudy.estimators import FewShotRegressor as FewShotRegressor
    from quickstudy.evaluate.protocol import Protocol
    from quickstudy.inner import SGD, Adam, LearnedRates, Momentum, unroll
    from quickstudy.methods.gradient.maml import MAML
    from quickstudy.methods.metric.protonet import ProtoNet
    from quickstudy.train.loop import fit
    from quickstudy.train.run import Run
    from quickstudy.train.settings import Training

__version__ = "0.1.0"

# Names are imported when first used: the command line's --help must not wait for torch.
_HOMES = {
    "Adam": "inner",
    "Bundle": "bundle",
    "Categorical": "core.predictions",
    "Episode": "core.episode",
    "Examples": "core.episode",
    "Gaussian": "core.predictions",
    "LearnedRates": "inner",
    "MAML": "methods.gradient.maml",
    "MetaLearner": "core.learner",
    "Mixture": "core.predictions",
    "Momentum": "inner",
    "Prediction": "core.predictions",
    "ProtoNet": "methods.metric.protonet",
    "Protocol": "evaluate.protocol",
    "QueryScored": "core.learner",
    "QuickstudyError": "errors",
    "Run": "train.run",
    "SGD": "inner",
    "Tags": "core.learner",
    "Training": "train.settings",
    "check_method": "checks",
    "fit": "train.loop",
    "over_tasks": "core.lift",
    "unroll": "inner",
}

# Those of packages that come with an extra; `import *` must do without them.
_EXTRAS = {
    "FewShotClassifier": "estimators",
    "FewShotRegressor": "estimators",
}

__all__ = [
    "MAML",
    "SGD",
    "Adam",
    "Bundle",
    "Categorical",
    "Episode",
    "Examples",
    "Gaussian",
    "LearnedRates",
    "MetaLearner",
    "Mixture",
    "Momentum",
    "Prediction",
    "ProtoNet",
    "Protocol",
    "QueryScored",
    "QuickstudyError",
    "Run",
    "Tags",
    "Training",
    "check_method",
    "fit",
    "over_tasks",
    "unroll",
]


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name) or _EXTRAS.get(name)
    if home is None:
        raise AttributeError(f"module 'quickstudy' has no attribute {name!r}")
    return getattr(importlib.import_module(f"quickstudy.{home}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOMES, *_EXTRAS])
