"""Every error that quickstudy raises on purpose.

QuickstudyError
├── SettingsError     a setting, name or argument that cannot be used
├── TaskError         a task source that cannot give the episodes asked of it
├── DataError         a file, archive, image or class that cannot be read as promised
├── MethodError       a method that breaks the contract of `MetaLearner`
├── TrainingError     a training run that cannot go on
├── CheckpointError   a saved run that cannot be written or read back
├── WorkersError      processes of one job that have lost each other
└── ExtraError        a package that comes with an extra, and is not there

A message says what was got, what was expected, and the mend. The command line prints the message alone.
"""

__all__ = [
    "CheckpointError",
    "DataError",
    "ExtraError",
    "MethodError",
    "QuickstudyError",
    "SettingsError",
    "TaskError",
    "TrainingError",
    "WorkersError",
]


class QuickstudyError(Exception):
    """The root of every deliberate error; catch this one to catch them all."""


class SettingsError(QuickstudyError, ValueError):
    """A setting, name or argument that cannot be used."""


class TaskError(QuickstudyError, ValueError):
    """A task source that cannot give the episodes asked of it."""


class DataError(QuickstudyError, ValueError):
    """A file, archive, image or class that cannot be read as promised."""


class MethodError(QuickstudyError, TypeError):
    """A method that breaks the contract of `MetaLearner`."""


class TrainingError(QuickstudyError, RuntimeError):
    """A training run that cannot go on; its last good checkpoint is kept."""


class CheckpointError(QuickstudyError, RuntimeError):
    """A saved run that cannot be written or read back."""


class WorkersError(QuickstudyError, RuntimeError):
    """Processes of one job that have lost each other; what was saved is kept."""


class ExtraError(QuickstudyError, ImportError):
    """A package that comes with an extra of quickstudy, and is not installed or cannot be imported."""
