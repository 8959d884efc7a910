"""quickstudy, its step as `fit` takes it: tasks planned, in chunks, gradients added up in the weights."""

from __future__ import annotations

from typing import Any

import torch
from harness.settings import Setting, weights_of

from quickstudy import MAML, SGD, Episode, Examples, ProtoNet
from quickstudy.core import allocator, tree
from quickstudy.core.lift import over_tasks
from quickstudy.methods.gradient.cavia import CAVIA
from quickstudy.methods.metric.matching import MatchingNet
from quickstudy.methods.metric.metaoptnet import MetaOptNet
from quickstudy.methods.metric.r2d2 import R2D2
from quickstudy.methods.metric.relation import RelationNet
from quickstudy.nets import MLP, Conv4
from quickstudy.train.compiled import WholeStep
from quickstudy.train.pace import chosen_plan
from quickstudy.train.settings import Training
from quickstudy.train.state import TrainState


def build(
    setting: Setting,
    arrays: dict[str, Any],
    *,
    norm: str = "transductive",
    bf16: bool = False,
    channels_last: bool = False,
    compiled: bool = False,
    how: str = "auto",
    gradient: str = "",
    chunk: int | None = None,
    serving: bool = False,
) -> Any:
    """A step; the options are those of `Training` and of the net. Serving is another job: see `serve`."""
    if serving:
        return serve(setting, arrays)
    allocator.prefer_huge_pages()  # as the command line does, and fit
    allocator.keep_freed_memory()
    method, episodes = make_method(setting, arrays, norm, gradient), make_episodes(setting, arrays)
    # As in training: how tasks are taken together is measured before the first step, unless it is given.
    training = Training(
        steps=1000, how=how, chunk=chunk, channels_last=channels_last, precision="bf16" if bf16 else "float32"
    )
    planned, size = chosen_plan(TrainState(method, training), (episodes,))
    parts = [
        tree.map_leaves(lambda leaf, at=at: leaf[at : at + size], episodes) for at in range(0, setting.tasks, size)
    ]
    weights = dict(shared_weights(method))
    graph = WholeStep(method, how=planned, bf16=bf16) if compiled else None

    def of(part: Episode) -> Any:
        """The loss summed over these tasks; its gradient is added to that of the weights."""
        if graph is not None:
            loss, slopes = graph(part)
            for name, weight in weights.items():
                slope = slopes[name] * (size / setting.tasks)
                weight.grad = slope if weight.grad is None else weight.grad.add_(slope)
            return loss * (size / setting.tasks)
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            loss = over_tasks(method, part, how=planned).sum() / setting.tasks
        loss.backward()
        return loss.detach()

    def step() -> Any:
        total = torch.stack([of(part) for part in parts]).sum()
        slopes = [weight.grad for weight in weights.values()]
        method.zero_grad(set_to_none=True)
        return total.item(), slopes

    return step


def serve(setting: Setting, arrays: dict[str, Any]) -> Any:
    """One task: adapt to its support, predict its queries."""
    method, episodes = make_method(setting, arrays, "support"), make_episodes(setting, arrays)
    support, x = tree.unstack(episodes.support)[0], episodes.query.x[0]

    def step() -> Any:
        with torch.inference_mode():
            return method.predict(method.adapt(support), x).mean

    return step


def make_method(setting: Setting, arrays: dict[str, Any], norm: str = "transductive", gradient: str = "") -> Any:
    """The method of a setting with the weights that all contenders have."""
    body: Any = MLP((1,)) if setting.regression else Conv4((1, 28, 28), norm=norm)  # type: ignore[arg-type]
    method: Any
    if setting.method == "protonet":
        method = ProtoNet(body)
    elif setting.method == "r2d2":
        method = R2D2(body)
    elif setting.method == "matching":
        method = MatchingNet(body, context="full")
    elif setting.method == "metaoptnet":
        method = MetaOptNet(body)
    elif setting.method == "relation":
        torch.manual_seed(0)  # the relation module's weights, for all who have one like it
        method = RelationNet(body)
    elif setting.method == "cavia":
        method = CAVIA(body, setting.ways, steps=setting.steps, rule=SGD(rate=setting.rate))
        torch.manual_seed(0)
        method.enter.reset_parameters()
    else:
        method = MAML(
            body,
            setting.ways,
            steps=setting.steps,
            rule=SGD(rate=setting.rate),
            gradient=gradient or setting.order,  # type: ignore[arg-type]
            adapts="head" if setting.method == "anil" else "all",
            likelihood="gaussian" if setting.regression else "categorical",
        )
    with torch.no_grad():
        for (_, mine), given in zip(shared_weights(method), weights_of(arrays), strict=True):
            mine.copy_(torch.from_numpy(given))
    return method


def shared_weights(method: Any) -> list[tuple[str, Any]]:
    """The weights that every contender has: not the learned penalty and scale of R2-D2, say."""
    return [(name, w) for name, w in method.named_parameters() if name.startswith(("net.", "head."))]


def make_episodes(setting: Setting, arrays: dict[str, Any]) -> Episode:
    def examples(part: str) -> Examples:
        x, y = torch.from_numpy(arrays[f"{part}_x"]), torch.from_numpy(arrays[f"{part}_y"])
        y = y if setting.regression else torch.nn.functional.one_hot(y, setting.ways).bool()
        return Examples(x, y, torch.ones(x.shape[:2], dtype=torch.bool))

    return Episode(examples("support"), examples("query"))
