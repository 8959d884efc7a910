"""Samplers of Omniglot episodes: quickstudy's, and learn2learn's over tensors in memory and over image files."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

from harness.settings import Setting


def build(setting: Setting, arrays: dict[str, Any], *, whose: str, batch: int) -> Any:
    """A step samples `batch` episodes of `setting.ways` ways, as the tensors that a method takes."""
    if whose == "quickstudy":
        from quickstudy.tasks.omniglot import Omniglot

        family = Omniglot(ways=setting.ways, shots=setting.shots, queries=setting.queries)
        batches = family.source("train").batches(batch)
        return lambda: next(batches)
    taskset = _in_memory(setting, arrays) if whose == "memory" else _from_files(setting, arrays)
    return lambda: [taskset.sample() for _ in range(batch)]


def _taskset(setting: Setting, data: Any, labels: Any) -> Any:
    from contenders.learn2learn import reach

    reach()
    import_module("learn2learn.utils")  # its data sets call it by that name
    from learn2learn.data.meta_dataset import MetaDataset
    from learn2learn.data.task_dataset import TaskDataset
    from learn2learn.data.transforms import ConsecutiveLabels, FusedNWaysKShots, LoadData, RemapLabels

    known = MetaDataset(data, indices_to_labels={i: int(label) for i, label in enumerate(labels)})
    each = setting.shots + setting.queries
    chain = [FusedNWaysKShots(known, n=setting.ways, k=each), LoadData(known), RemapLabels(known)]
    return TaskDataset(known, task_transforms=[*chain, ConsecutiveLabels(known)], num_tasks=-1)


def _in_memory(setting: Setting, arrays: dict[str, Any]) -> Any:
    """Over the images that quickstudy holds, as float32 tensors."""
    import torch
    from torch.utils.data import TensorDataset

    x = torch.from_numpy(arrays["images"]).float() / 255
    labels = torch.from_numpy(arrays["labels"])
    return _taskset(setting, TensorDataset(x, labels), arrays["labels"])


def _from_files(setting: Setting, arrays: dict[str, Any]) -> Any:
    """What its Omniglot benchmark does to each drawing: open the file, to grey, to 28x28 by Lanczos, to a tensor, ink
    bright. The random rotation of each class, which needs torchvision, is left out, so this is quicker than its own."""
    import numpy as np
    import torch
    from PIL import Image
    from torch.utils.data import Dataset

    paths = [Path(str(path)) for path in arrays["paths"]]
    labels = [int(label) for label in arrays["path_labels"]]

    class Files(Dataset):  # type: ignore[type-arg]
        def __len__(self) -> int:
            return len(paths)

        def __getitem__(self, item: int) -> Any:
            image = Image.open(paths[item], mode="r").convert("L").resize((28, 28), Image.Resampling.LANCZOS)
            tensor = torch.from_numpy(np.array(image, dtype=np.uint8))[None].float().div(255)
            return 1.0 - tensor, labels[item]

    return _taskset(setting, Files(), labels)
