"""A classifier that no longer learns, and teaches another."""

from __future__ import annotations

from torch import nn

from quickstudy.core.apply import apply
from quickstudy.core.learner import MetaLearner
from quickstudy.core.shapes import Bool, Float, Shaped, Tensor
from quickstudy.errors import SettingsError
from quickstudy.methods.flat.pretrained import Pretrained
from quickstudy.methods.gradient.body_and_head import weights_of

__all__ = ["Teacher", "divergence"]


class Teacher(nn.Module):
    """Other weights for a net and its head, as buffers: they are saved with the method and never trained.

    Args:
        net: The student's net, whose form the teacher has.
        head: The student's head, likewise.
    """

    def __init__(self, net: nn.Module, head: nn.Linear) -> None:
        super().__init__()
        for name, weight in weights_of(net=net, head=head).items():
            self.register_buffer(_held(name), weight.detach().clone())

    def become(self, trained: MetaLearner) -> None:
        """Take the weights of a trained classifier.

        Raises:
            SettingsError: it is none, or one of another form.
        """
        if not isinstance(trained, Pretrained):
            raise SettingsError(
                f"{type(trained).__name__} is no classifier of all training classes; expected the run of one as "
                "teacher. Train rfs first."
            )
        given = {_held(name): weight for name, weight in weights_of(net=trained.net, head=trained.head).items()}
        try:
            self.load_state_dict(given)
        except RuntimeError as error:
            reason = str(error).splitlines()[-1].strip()  # torch lists every weight; one tells enough
            raise SettingsError(
                f"the teacher has another net, or other classes, than its student: {reason} Train both alike."
            ) from error

    def classify(self, net: nn.Module, x: Shaped[Tensor, "n *item"], mask: Bool[Tensor, " n"]) -> Float[Tensor, "n c"]:
        """The teacher's logits, by its own weights in the student's net."""
        held = {name.replace("/", "."): weight for name, weight in self.named_buffers()}
        of_net = {name.removeprefix("net."): weight for name, weight in held.items() if name.startswith("net.")}
        features, _ = apply(net, of_net, x, mask=mask)
        logits: Tensor = features @ held["head.weight"].T + held["head.bias"]
        return logits


def divergence(told: Float[Tensor, "n c"], said: Float[Tensor, "n c"], softness: float) -> Float[Tensor, " n"]:
    """τ² · KL of softmax(said / τ) from softmax(told / τ), for each example (Hinton et al. 2015)."""
    target, log_p = (told / softness).softmax(-1), (said / softness).log_softmax(-1)
    return softness**2 * (target * ((told / softness).log_softmax(-1) - log_p)).sum(-1)


def _held(name: str) -> str:
    """A weight's name as that of a buffer, which may hold no dots."""
    return name.replace(".", "/")
