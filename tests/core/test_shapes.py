"""The tests execute every shape annotation; without jaxtyping the library is the same and checks none."""

import subprocess
import sys

import jaxtyping
import pytest
import torch

from helpers import random_episodes
from quickstudy import ProtoNet
from quickstudy.core.episode import masked_mean
from quickstudy.nets import Conv4, Flatten


def test_shapes_that_disagree_are_caught():
    with pytest.raises(jaxtyping.TypeCheckError, match="masked_mean"):
        masked_mean(torch.ones(3), torch.ones(4, dtype=torch.bool))
    with pytest.raises(jaxtyping.TypeCheckError, match="forward"):
        Conv4((1, 16, 16), width=4)(torch.ones(16, 16))


def test_a_batch_given_as_one_task_is_caught():
    with pytest.raises((jaxtyping.TypeCheckError, RuntimeError)):
        ProtoNet(Flatten((1, 16, 16))).meta_loss(random_episodes())


def test_without_jaxtyping_annotations_are_plain_tensors():
    code = """
import sys
sys.modules["jaxtyping"] = sys.modules["beartype"] = None
import torch
from quickstudy import MAML, ProtoNet
from quickstudy.core.shapes import Bool, Float
from quickstudy.nets import Flatten
assert Float[torch.Tensor, "n k"] is Bool[torch.Tensor, ""] is torch.Tensor
MAML(Flatten((3,)), 2), ProtoNet(Flatten((3,)))
print("fine")
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "fine", done.stderr
