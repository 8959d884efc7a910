"""Episodes: what sources must promise, and what becomes of images on a device."""

import pytest
import torch

from helpers import random_episodes
from quickstudy import Episode, Examples
from quickstudy.core.episode import check_episodes, masked_mean, to_device
from quickstudy.errors import TaskError


def spoil(part: str, **fields: torch.Tensor) -> Episode:
    episodes = random_episodes()
    return episodes._replace(**{part: getattr(episodes, part)._replace(**fields)})


def test_good_episodes_pass():
    check_episodes(random_episodes(), "noise")


def test_the_mask_is_bool():
    with pytest.raises(TaskError, match=r"noise: the support mask is torch.float32 of shape \(3, 8\); expected bool"):
        check_episodes(spoil("support", mask=torch.ones(3, 8)), "noise")


def test_the_mask_has_tasks_and_examples():
    with pytest.raises(TaskError, match=r"the query mask is torch.bool of shape \(12,\)"):
        check_episodes(spoil("query", mask=torch.ones(12, dtype=torch.bool)), "noise")


@pytest.mark.parametrize("field", ["x", "y"])
def test_fields_have_the_axes_of_the_mask(field):
    values = getattr(random_episodes().support, field)[:, :-1]
    with pytest.raises(TaskError, match=rf"support.{field} starts with axes \(3, 7\); expected .* \(3, 8\)"):
        check_episodes(spoil("support", **{field: values}), "noise")


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_values_are_finite(bad):
    x = random_episodes().query.x
    x[1, 2, 0, 3, 4] = bad
    with pytest.raises(TaskError, match=r"query.x holds NaN or infinite values\. Clean the data"):
        check_episodes(spoil("query", x=x), "noise")


def test_halves_agree_on_ways():
    y = torch.zeros(3, 12, 5, dtype=torch.bool)
    with pytest.raises(TaskError, match=r"labels have shapes \(4,\) and \(5,\)"):
        check_episodes(spoil("query", y=y), "noise")


def test_images_become_fractions():
    x = torch.tensor([0, 51, 255], dtype=torch.uint8).view(1, 3, 1, 1, 1)
    part = Examples(x, torch.ones(1, 3, 2, dtype=torch.bool), torch.ones(1, 3, dtype=torch.bool))
    moved = to_device(Episode(part, part), "cpu")
    torch.testing.assert_close(moved.query.x.flatten(), torch.tensor([0.0, 0.2, 1.0]))
    assert moved.support.y.dtype == moved.support.mask.dtype == torch.bool
    assert to_device(Episode(part, part), "cpu", torch.float64).support.x.dtype == torch.float64


def test_numbers_take_the_dtype():
    moved = to_device(random_episodes(dtype=torch.float64), "cpu", torch.float32)
    assert moved.support.x.dtype == torch.float32
    assert moved.query.y.dtype == torch.bool


def test_masked_mean():
    values = torch.tensor([1.0, 2.0, 100.0])
    assert masked_mean(values, torch.tensor([True, True, False])) == 1.5
    assert masked_mean(values, torch.tensor([False, False, False])) == 0.0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_masked_values_may_be_anything(bad):
    values = torch.tensor([1.0, 2.0, bad], requires_grad=True)
    mean = masked_mean(values, torch.tensor([True, True, False]))
    mean.backward()
    assert mean == 1.5
    assert values.grad.tolist() == [0.5, 0.5, 0.0]
