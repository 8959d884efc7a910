"""A classifier that no longer learns, and teaches another."""

from __future__ import annotations

import copy

from torch import nn

from quickstudy.core.apply import apply
from quickstudy.core.learner import MetaLearner
from quickstudy.core.precision import at_least_single
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.errors import SettingsError
from quickstudy.methods.flat.pretrained import Pretrained

__all__ = ["Teacher", "divergence"]


class Teacher(nn.Module):
    """A net and a head of its own, saved with the method and never trained: all their tensors are buffers.

    They stay as when they are evaluated: a net that normalises by the population goes by the one that the teacher was
    trained on, and the student's gathers nothing of its teacher.

    Args:
        net: The student's net, whose form the teacher has.
        head: The student's head, likewise.
    """

    def __init__(self, net: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        self.net, self.head = _held(copy.deepcopy(net)), _held(copy.deepcopy(head))
        self.train(False)

    def train(self, mode: bool = True) -> Teacher:
        """Stay as it is, whatever is asked of the student."""
        return super().train(False)

    def become(self, trained: MetaLearner) -> None:
        """Take the weights of a trained classifier, and the statistics that its net keeps.

        Raises:
            SettingsError: it is none, or one of another form.
        """
        if not isinstance(trained, Pretrained):
            raise SettingsError(
                f"{type(trained).__name__} is no classifier of all training classes; expected the run of one as "
                "teacher. Train rfs first."
            )
        given = nn.ModuleDict({"net": trained.net, "head": trained.head}).state_dict()
        try:
            self.load_state_dict(given)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()  # torch lists every weight; one tells enough
            raise SettingsError(
                f"the teacher has another net, or other classes, than its student: {reason} Train both alike."
            ) from error

    def classify(self, x: Shaped[Tensor, "n *item"], mask: Bool[Tensor, " n"]) -> Float[Tensor, "n c"]:
        """The teacher's logits."""
        features, _ = apply(self.net, None, x, mask=mask)
        logits: Tensor = self.head(features)
        return logits


def divergence(told: Float[Tensor, "n c"], said: Float[Tensor, "n c"], softness: float) -> Float[Tensor, " n"]:
    """τ² · KL of softmax(said / τ) from softmax(told / τ), for each example (Hinton et al. 2015)."""
    told, said = (at_least_single(logits) / softness for logits in (told, said))
    return softness**2 * (told.softmax(-1) * (told.log_softmax(-1) - said.log_softmax(-1))).sum(-1)


def _held(module: nn.Module) -> nn.Module:
    """The module with its parameters turned into buffers of the same names."""
    for part in module.modules():
        for name, weight in list(part.named_parameters(recurse=False)):
            delattr(part, name)
            part.register_buffer(name, weight.detach())
    return module
