"""Shape annotations: jaxtyping's where it is installed (the tests execute them), bare tensors where it is not.

Letters, everywhere: `t` tasks, `n` examples, `k` classes (ways), `d` features, `s` steps, `*item` one input.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from torch import Tensor

__all__ = ["Bool", "Float", "Int", "Shaped", "Tensor"]

if TYPE_CHECKING:
    from jaxtyping import Bool, Float, Int, Shaped
else:
    try:
        from jaxtyping import Bool, Float, Int, Shaped
    except ImportError:

        class _Unchecked:
            """Stands for a jaxtyping array type: `Float[Tensor, "n k"]` is then just `Tensor`."""

            def __class_getitem__(cls, item: Any) -> type:
                return item[0]

        Bool = Float = Int = Shaped = _Unchecked
