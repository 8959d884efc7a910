"""What a network that reads cells remembers. What may not matter to it is tested beside `test_kernelpfn`."""

from __future__ import annotations

import torch

from quickstudy import Examples
from quickstudy.core import tree
from quickstudy.methods.memory.tablepfn import TablePFN
from quickstudy.nets import Flatten


def test_a_learner_answers_by_what_it_remembers():
    torch.manual_seed(0)
    method = TablePFN(Flatten((5,)), 3, width=8, hidden=16, heads=2, layers=2).double()
    with torch.no_grad():
        for weight in method.parameters():
            weight.add_(0.3 * torch.randn_like(weight))
    x, asked = (torch.randn(n, 5, dtype=torch.float64) for n in (12, 4))
    y = torch.eye(3, dtype=torch.bool)[torch.arange(12) % 3]
    learner = method.adapt(Examples(x, y, torch.ones(12, dtype=torch.bool)))
    shapes = {tuple(leaf.shape) for memory in learner.memories for leaf in memory}
    assert shapes == {(3, 6, 2, 12, 4)}, "for each class and column, by head, of each row"
    plain = method.predict(learner, asked).mean
    forgotten = tree.map_leaves(torch.zeros_like, learner.memories)
    assert not torch.allclose(method.predict(learner._replace(memories=forgotten), asked).mean, plain)
