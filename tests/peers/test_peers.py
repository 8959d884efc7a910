"""Our meta-gradient against other people's, where theirs is installed (`benchmarks/peers.py` installs it)."""

import importlib.util
import types
from pathlib import Path

import pytest
import torch

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "peers.py"


@pytest.fixture(scope="module")
def peers() -> types.ModuleType:
    spec = importlib.util.spec_from_file_location("peers", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.WIDTH, module.QUERIES = 8, 3
    return module


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize(("dtype", "limit"), [(torch.float32, 1e-5), (torch.float64, 1e-10)])
@pytest.mark.parametrize("batch_norm", [True, False])
def test_the_exact_meta_gradient_is_the_one_of_higher(peers, batch_norm, dtype, limit):
    pytest.importorskip("higher", reason="higher is not installed; benchmarks/peers.py makes an environment with it")
    torch.manual_seed(0)
    net = peers.reference_net(batch_norm).to(dtype)
    support, query = peers.task(dtype)
    ours = peers.by_quickstudy(net, support, query, 3, 0.1)
    theirs = peers.by_higher(net, support, query, 3, 0.1)
    assert peers.apart(flat(ours), flat(theirs)) < limit


def test_the_difference_of_a_wrong_gradient_is_seen(peers):
    torch.manual_seed(0)
    net = peers.reference_net(True)
    support, query = peers.task(torch.float32)
    right, wrong = (flat(peers.by_quickstudy(net, support, query, 1, rate)) for rate in (0.1, 0.11))
    assert peers.apart(wrong, right) > 1e-3


def flat(gradient):
    return torch.cat([g.flatten() for g in gradient])
