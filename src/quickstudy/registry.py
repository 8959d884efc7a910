"""What quickstudy knows by name: tables of strings, so that nothing is imported before it is asked for.

Adding a method, task family, net, step rule or encoder is one file and one line here; the command line, the
documentation, the contract tests and the leaderboards read these tables. A name may also be the address of a user's own
class, `package.module:Class`.
"""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Iterable, Mapping
from typing import Any

from quickstudy.errors import SettingsError

__all__ = [
    "ENCODERS",
    "FLOORS",
    "METHODS",
    "NETS",
    "RULES",
    "TASKS",
    "VARIANTS",
    "closest",
    "expand",
    "family",
    "get",
    "name_of",
    "suited_to_values",
    "summary",
]

METHODS = {
    "maml": "quickstudy.methods.gradient.maml:MAML",
    "reptile": "quickstudy.methods.gradient.reptile:Reptile",
    "cavia": "quickstudy.methods.gradient.cavia:CAVIA",
    "protomaml": "quickstudy.methods.gradient.protomaml:ProtoMAML",
    "mamlpp": "quickstudy.methods.gradient.mamlpp:MAMLPlusPlus",
    "tnet": "quickstudy.methods.gradient.tnet:TNet",
    "imaml": "quickstudy.methods.gradient.imaml:IMAML",
    "warpgrad": "quickstudy.methods.gradient.warpgrad:WarpGrad",
    "leo": "quickstudy.methods.gradient.leo:LEO",
    "protonet": "quickstudy.methods.metric.protonet:ProtoNet",
    "matching": "quickstudy.methods.metric.matching:MatchingNet",
    "relation": "quickstudy.methods.metric.relation:RelationNet",
    "siamese": "quickstudy.methods.metric.siamese:Siamese",
    "r2d2": "quickstudy.methods.metric.r2d2:R2D2",
    "metaoptnet": "quickstudy.methods.metric.metaoptnet:MetaOptNet",
    "tadam": "quickstudy.methods.metric.tadam:TADAM",
    "lstm": "quickstudy.methods.memory.lstm:LSTM",
    "mann": "quickstudy.methods.memory.mann:MANN",
    "snail": "quickstudy.methods.memory.snail:SNAIL",
    "transformer": "quickstudy.methods.memory.transformer:InContext",
    "srwm": "quickstudy.methods.memory.srwm:SRWM",
    "pfn": "quickstudy.methods.memory.pfn:PFN",
    "kernelpfn": "quickstudy.methods.memory.kernelpfn:KernelPFN",
    "kernelmixture": "quickstudy.methods.memory.kernelmixture:KernelMixture",
    "simpleshot": "quickstudy.methods.flat.simpleshot:SimpleShot",
    "rfs": "quickstudy.methods.flat.rfs:RFS",
    "baseline++": "quickstudy.methods.flat.baselinepp:BaselinePlusPlus",
    "finetune": "quickstudy.methods.gradient.finetune:FineTune",
    "dkt": "quickstudy.methods.bayesian.dkt:DKT",
    "versa": "quickstudy.methods.bayesian.versa:VERSA",
    "abml": "quickstudy.methods.bayesian.abml:ABML",
    "platipus": "quickstudy.methods.bayesian.platipus:PLATIPUS",
    "bmaml": "quickstudy.methods.bayesian.bmaml:BMAML",
    "cnp": "quickstudy.methods.conditional.cnp:CNP",
    "np": "quickstudy.methods.conditional.np:NP",
    "convcnp": "quickstudy.methods.conditional.convcnp:ConvCNP",
    "tnp": "quickstudy.methods.conditional.tnp:TNP",
    "hypernet": "quickstudy.methods.conditional.hypernet:HyperNet",
    "cnaps": "quickstudy.methods.conditional.cnaps:CNAPs",
}

TASKS = {
    "glyphs": "quickstudy.tasks.glyphs:Glyphs",
    "omniglot": "quickstudy.tasks.omniglot:Omniglot",
    "cifar_fs": "quickstudy.tasks.cifar_fs:CifarFS",
    "features": "quickstudy.tasks.features:Features",
    "folder": "quickstudy.tasks.folder:Folder",
    "sines": "quickstudy.tasks.sines:Sines",
    "ambiguous": "quickstudy.tasks.ambiguous:Ambiguous",
    "linear": "quickstudy.tasks.linear:Linear",
    "quadratics": "quickstudy.tasks.linear:Quadratics",
    "gp": "quickstudy.tasks.gp:GP",
    "prior": "quickstudy.tasks.prior:Prior",
}

NETS = {
    "conv4": "quickstudy.nets.conv:Conv4",
    "resnet12": "quickstudy.nets.resnet:ResNet12",
    "mlp": "quickstudy.nets.mlp:MLP",
    "flatten": "quickstudy.nets.mlp:Flatten",
}

RULES = {
    "sgd": "quickstudy.inner.rules:SGD",
    "momentum": "quickstudy.inner.rules:Momentum",
    "adam": "quickstudy.inner.rules:Adam",
    "learned-rates": "quickstudy.inner.rules:LearnedRates",
    "meta-curvature": "quickstudy.inner.curvature:MetaCurvature",
    "alfa": "quickstudy.inner.alfa:ALFA",
    "parted": "quickstudy.inner.parted:Parted",
    "meta-lstm": "quickstudy.inner.lstm:MetaLSTM",
    "coordinate-lstm": "quickstudy.inner.lstm:CoordinateLSTM",
}

ENCODERS = {
    "image": "quickstudy.encoders.image:ImageEncoder",
    "vector": "quickstudy.encoders.vector:VectorEncoder",
    "text": "quickstudy.encoders.text:TextEncoder",
    "vision": "quickstudy.encoders.vision:VisionEncoder",
}

# Published variants of a method: a name for some of its settings.
VARIANTS: dict[str, dict[str, Any]] = {
    "fomaml": {
        "name": "maml",
        "settings": {"gradient": "first-order"},
        "summary": "MAML with slopes taken as constants (Finn et al. 2017).",
    },
    "anil": {
        "name": "maml",
        "settings": {"adapts": "head"},
        "summary": "MAML whose inner steps move the head alone (Raghu et al. 2020).",
    },
    "anil-tied": {
        "name": "maml",
        "settings": {"adapts": "head", "head": "tied", "rule": {"name": "sgd", "rate": 0.02}},
        "summary": "ANIL whose head starts alike for every class, however many there are (Raghu et al. 2020).",
    },
    "boil": {
        "name": "maml",
        "settings": {"adapts": "body", "rule": {"name": "sgd", "rate": 0.5}},
        "summary": "MAML whose inner steps move the body alone (Oh et al. 2021).",
    },
    "meta-baseline": {
        "name": "protonet",
        "settings": {"distance": "cosine", "temperature": 0.1, "learn_temperature": True, "pretrained": True},
        "summary": "Prototypes by cosine on the net of a trained classifier, the run in --start (Chen et al. 2021).",
    },
    "matching-fce": {
        "name": "matching",
        "settings": {"context": "full"},
        "summary": "Matching networks with full-context embeddings (Vinyals et al. 2016, appendix A).",
    },
    "imaml-hf": {
        "name": "imaml",
        "settings": {"solver": "hessian-free", "steps": 5, "iterations": 8},
        "summary": "iMAML whose inner minimum is found Hessian-free (Rajeswaran et al. 2019).",
    },
    "metaoptnet-rr": {
        "name": "metaoptnet",
        "settings": {"head": "ridge"},
        "summary": "MetaOptNet with ridge regression for a head (Lee et al. 2019).",
    },
    "rfs-distill": {
        "name": "rfs",
        "settings": {"distill": 0.5},
        "summary": "RFS taught by an earlier RFS, the run in --start, as well as by labels (Tian et al. 2020).",
    },
    "meta-sgd": {
        "name": "maml",
        "settings": {"steps": 1, "rule": {"name": "learned-rates", "rate": 0.1}},
        "summary": "MAML with a learned step size for every weight (Li et al. 2017).",
    },
    "meta-curvature": {
        "name": "maml",
        "settings": {"rule": {"name": "meta-curvature", "rate": 0.1}},
        "summary": "MAML whose slopes are turned by learned matrices (Park and Oliva 2019).",
    },
    "alfa": {
        "name": "maml",
        "settings": {"rule": {"name": "alfa", "rate": 0.1}},
        "summary": "MAML whose step sizes and decays a small net generates (Baik et al. 2020).",
    },
    "mix-maml": {
        "name": "maml",
        "settings": {"rule": {"name": "parted"}},
        "summary": "MAML with other rules for body and head: an interpretation of Mix-MAML (Jia et al. 2023).",
    },
    "mtnet": {
        "name": "tnet",
        "settings": {"masked": True},
        "summary": "T-net that also learns which rows of weights adapt (Lee and Choi 2018).",
    },
    "meta-lstm": {
        "name": "maml",
        "settings": {"rule": {"name": "meta-lstm"}, "gradient": "first-order"},
        "summary": "An LSTM whose cell state is the learner's weights (Ravi and Larochelle 2017).",
    },
    "anp": {
        "name": "np",
        "settings": {"path": "attention"},
        "summary": "Neural processes whose decoder attends to the support (Kim et al. 2019).",
    },
    "plain-lstm": {
        "name": "lstm",
        "settings": {"pool": "mean"},
        "summary": "An LSTM that reads each example alone and averages what it saw (Huisman et al. 2023).",
    },
    "gpicl": {
        "name": "transformer",
        "settings": {"tokens": "delayed"},
        "summary": "A transformer that learns in context, each label shown beside the next input (Kirsch et al. 2022).",
    },
    "hypernet-low-rank": {
        "name": "hypernet",
        "settings": {"writes": "low-rank"},
        "summary": "A hypernetwork that also writes a hidden layer, by a product of narrow matrices.",
    },
    "hypernet-film": {
        "name": "hypernet",
        "settings": {"writes": "film"},
        "summary": "A hypernetwork that also writes scale and shift of the net's own layers.",
    },
    "simple-cnaps": {
        "name": "cnaps",
        "settings": {"head": "mahalanobis"},
        "summary": "CNAPs that predict by Mahalanobis distance to class means (Bateni et al. 2020).",
    },
    "coordinate-lstm": {
        "name": "maml",
        "settings": {"rule": {"name": "coordinate-lstm"}, "gradient": "first-order"},
        "summary": "An LSTM that says each coordinate's step (Andrychowicz et al. 2016).",
    },
}

# Settings that suit real-valued targets, whose slopes are of another size than those of classes: the command line
# takes them where nothing else is asked for. By the name of a method or a variant.
FOR_VALUES: dict[str, dict[str, Any]] = {
    "maml": {"rule": {"name": "sgd", "rate": 0.01}},
    "meta-sgd": {"rule": {"name": "learned-rates", "rate": 0.01}},
    "meta-curvature": {"rule": {"name": "meta-curvature", "rate": 0.01}},
    "alfa": {"rule": {"name": "alfa", "rate": 0.01}},
    "meta-lstm": {"rule": {"name": "meta-lstm", "rate": 0.01}},
    "coordinate-lstm": {"rule": {"name": "coordinate-lstm", "scale": 0.01}},
    "reptile": {"rule": {"name": "sgd", "rate": 0.02}},
    "mamlpp": {"rate": 0.01},
    "warpgrad": {"rate": 0.01},
    "mix-maml": {
        "rule": {
            "name": "parted",
            "body": {"name": "learned-rates", "rate": 0.01, "per": "tensor"},
            "head": {"name": "sgd", "rate": 0.01},
        }
    },
    "tnet": {"rate": 0.01},
    "dkt": {"kernel": "spectral"},
    "abml": {"rule": {"name": "sgd", "rate": 0.01}},
    "platipus": {"rule": {"name": "sgd", "rate": 0.01}},
    "bmaml": {"rate": 0.01},
    "imaml": {"rule": {"name": "sgd", "rate": 0.01}},
    "cavia": {"context": 5, "at": "first", "steps": 1},
    "lstm": {"scored": "all"},
    "transformer": {"scored": "all"},
}

# What every result must beat: how each floor is made of a registered method. `net` replaces the run's own
# net; `trained` says whether its net is first trained the conventional way, on all training classes at once.
FLOORS: dict[str, dict[str, object]] = {
    "no adaptation": {"method": "finetune", "settings": {"steps": 0}, "trained": True},
    "raw-input centroid": {"method": "protonet", "settings": {}, "net": "flatten", "trained": False},
    "random-feature centroid": {"method": "protonet", "settings": {}, "trained": False},
    "linear probe": {"method": "finetune", "settings": {"adapts": "head", "steps": 100}, "trained": True},
    "fine-tuning": {
        "method": "finetune",
        "settings": {"adapts": "all", "steps": 25, "rule": {"name": "adam", "rate": 0.003}},
        "trained": True,
    },
}

TABLES = {"method": METHODS, "tasks": TASKS, "net": NETS, "rule": RULES, "encoder": ENCODERS}


def get(kind: str, name: str) -> type:
    """The class called `name` in the table of `kind` ("method", "tasks", "net", "rule" or "encoder").

    Raises:
        SettingsError: no such name (with the nearest one), or an address that cannot be imported.
    """
    table = TABLES[kind]
    if kind == "method":
        name = _whole(name)
    if ":" not in name and name not in table:
        known = [*table, *VARIANTS] if kind == "method" else list(table)
        raise SettingsError(f"no {kind} named {name!r}{closest(name, known) or '.'} Known: {', '.join(known)}.")
    module, _, attribute = table.get(name, name).partition(":")
    try:
        found: type = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"{kind} {name!r} cannot be imported: {error}. An address reads package.module:Class, "
            "importable from where you run."
        ) from error
    if not isinstance(found, type):
        raise SettingsError(f"{kind} {name!r} is {found!r}; expected a class. An address reads package.module:Class.")
    return found


def name_of(cls: type) -> str:
    """The registered name of a class, or its address `package.module:Class`."""
    address = f"{cls.__module__}:{cls.__qualname__}"
    for table in TABLES.values():
        for name, target in table.items():
            if target == address:
                return name
    return address


def summary(kind: str, name: str) -> str:
    """The first line of the documentation of a registered class; a variant's own."""
    if kind == "method" and name in VARIANTS:
        return str(VARIANTS[name]["summary"])
    return (get(kind, name).__doc__ or "").strip().partition("\n")[0]


def expand(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings whose name may be that of a variant, as settings of the method that it is a variant of."""
    name = given.get("name")
    if kind != "method" or name not in VARIANTS:
        return dict(given)
    return {**VARIANTS[name]["settings"], **given, "name": VARIANTS[name]["name"]}


def suited_to_values(name: str) -> dict[str, Any]:
    """The settings in which a method for real-valued targets differs from its defaults; empty where in none."""
    return dict(FOR_VALUES.get(name, FOR_VALUES.get(_whole(name), {})))


def family(name: str) -> str:
    """The folder of `quickstudy.methods` that a registered method, or what a variant is of, is in: "gradient", say."""
    return METHODS[_whole(name)].removeprefix("quickstudy.methods.").partition(".")[0]


def _whole(name: str) -> str:
    """The method that a variant is of; the name of any other as it is."""
    return str(VARIANTS[name]["name"]) if name in VARIANTS else name


def closest(word: str, words: Iterable[str]) -> str:
    """`"; did you mean 'maml'?"` for a near miss, or nothing."""
    near = difflib.get_close_matches(word, list(words), n=1)
    return f"; did you mean {near[0]!r}?" if near else ""
