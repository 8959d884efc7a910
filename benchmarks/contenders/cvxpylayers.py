"""cvxpylayers: a loop over the tasks, whose machine is solved and differentiated by a general convex solver."""

from __future__ import annotations

from typing import Any

import torch
from harness.settings import WIDTH, Setting

from contenders.reference import body, collect, loss_of, tasks


def build(setting: Setting, arrays: dict[str, Any]) -> Any:
    if setting.method != "metaoptnet":
        raise NotImplementedError(setting.method)
    import cvxpy
    from cvxpylayers.torch import CvxpyLayer

    net, data = body(setting, arrays), tasks(arrays)
    n, k, bound = setting.ways * setting.shots, setting.ways, 0.1
    alpha, z, y = cvxpy.Variable((n, k)), cvxpy.Parameter((WIDTH, n)), cvxpy.Parameter((n, k))
    cost = 0.5 * cvxpy.sum_squares(z @ alpha) - cvxpy.sum(cvxpy.multiply(y, alpha))
    problem = cvxpy.Problem(cvxpy.Minimize(cost), [alpha <= bound * y, cvxpy.sum(alpha, axis=1) == 0])
    machine = CvxpyLayer(problem, parameters=[z, y], variables=[alpha])

    def step() -> Any:
        total = 0.0
        for x, labels, query_x, query_y in data:
            known, one_hot = net(x), torch.nn.functional.one_hot(labels, k).double()
            (weights,) = machine(known.T.double(), one_hot)
            said = net(query_x) @ (known.T @ weights.to(known.dtype))
            loss = loss_of(setting, said, query_y) / len(data)
            loss.backward()
            total += loss.item()
        return collect(total, net)

    return step
