"""Any module as an encoder: what it says in evaluation mode, and nothing of it changed."""

import copy

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from quickstudy.encoders.image import ImageEncoder
from quickstudy.encoders.module import ModuleEncoder
from quickstudy.errors import DataError, SettingsError


def test_arrays_and_their_features():
    net = nn.Sequential(nn.Linear(3, 6), nn.BatchNorm1d(6), nn.Dropout(0.5))
    before = copy.deepcopy(net.state_dict())
    encoder = ModuleEncoder(net, [3], batch=4)
    x = np.random.default_rng(0).normal(size=(10, 3))
    found = encoder.encode(x)
    assert net.training
    assert (encoder.kind, encoder.item, found.requires_grad) == ("vector", (6,), False)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    torch.testing.assert_close(found, net.eval()(torch.tensor(x).float()).detach())
    assert encoder.encode([]).shape == (0, 6)
    with pytest.raises(DataError, match=r"input 0 has shape \[2\]"):
        encoder.encode([[1.0, 2.0]])


def test_pictures_and_modules_of_other_precision():
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.ReLU()).double()
    encoder = ModuleEncoder(net, (1, 8, 8), kind="image")
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, size=(8, 8), dtype=np.uint8))
    expected = net(ImageEncoder(item=(1, 8, 8)).encode([picture]).double()).float().detach()
    torch.testing.assert_close(encoder.encode([picture]), expected)
    assert encoder.item == (2, 6, 6)


def test_copies_share_the_module():
    encoder = ModuleEncoder(nn.Linear(3, 2), (3,))
    assert copy.deepcopy(encoder).net is encoder.net


def test_modules_that_cannot_be_used():
    with pytest.raises(
        SettingsError, match=r"Linear fails on an input of shape \[4\]: .*Expected a module from a batch"
    ):
        ModuleEncoder(nn.Linear(3, 2), (4,))
    with pytest.raises(SettingsError, match=r"makes a tensor of shape \[2\] of a batch of one input"):
        ModuleEncoder(nn.Flatten(0), (2,))
    with pytest.raises(SettingsError, match="reads tensors, not text"):
        ModuleEncoder(nn.Linear(3, 2), (3,), kind="text")
