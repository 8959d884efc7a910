"""What a server answers when it does not do what it was asked: a status, a code for programs, a message for people."""

from __future__ import annotations

from quickstudy.errors import QuickstudyError

__all__ = ["RefusedError", "busy", "forgotten", "invalid", "not_found", "too_large"]


class RefusedError(QuickstudyError):
    """A request that is not done. The body is `{"error": {"code": ..., "message": ...}}`.

    Args:
        status: The HTTP status.
        code: What a program can branch on.
        message: Got, expected and the mend, for a person.
        retry_after: Seconds after which it may go better.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


def invalid(message: str, code: str = "invalid_request") -> RefusedError:
    """A request that can be understood and not be done as it is."""
    return RefusedError(422, code, message)


def too_large(message: str) -> RefusedError:
    """More than this server takes."""
    return RefusedError(413, "too_large", message)


def not_found(what: str = "learner") -> RefusedError:
    """Nothing there, or nothing of this tenant's: the answers do not differ."""
    return RefusedError(404, "not_found", f"there is no such {what}. Look in the list of yours for what there is.")


def forgotten(what: str) -> RefusedError:
    """A change that needs the examples, which were not kept."""
    return RefusedError(
        409,
        "forgotten",
        f"{what} needs the examples that this learner was made of; it was made with keep=false, so they are forgotten. "
        "Make a new learner of all examples, with keep=true if it is to change later.",
    )


def busy(message: str, retry_after: float, status: int = 429, code: str = "busy") -> RefusedError:
    """Too much at once; it goes better later."""
    return RefusedError(status, code, message, retry_after)
