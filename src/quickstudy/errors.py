"""Every error that quickstudy raises on purpose.

QuickstudyError
├── SettingsError     a setting, name or argument that cannot be used
├── TaskError         a task source that cannot give the episodes asked of it
├── DataError         a file, archive, image or class that cannot be read as promised
├── MethodError       a method that breaks the contract of `MetaLearner`
├── TrainingError     a training run that cannot go on
├── CheckpointError   a saved run that cannot be written or read back
├── BundleError       a bundle or learner that cannot be written, read back or used
├── WorkersError      processes of one job that have lost each other
├── ExtraError        a package that comes with an extra, and is not there
└── StoreError        a database of learners that cannot do what was asked
    ├── StoreBusyError         it is locked, or all its connections are in use: try again
    ├── StoreFullError         its disk has no room left
    ├── StoreDamagedError      what it holds is not what was written
    ├── StoreUnreachableError  it does not answer, or may not be written
    └── StoreQuotaError        a tenant has as many learners as it may

A message says what was got, what was expected, and the mend. The command line prints the message alone.
"""

__all__ = [
    "BundleError",
    "CheckpointError",
    "DataError",
    "ExtraError",
    "MethodError",
    "QuickstudyError",
    "SettingsError",
    "StoreBusyError",
    "StoreDamagedError",
    "StoreError",
    "StoreFullError",
    "StoreQuotaError",
    "StoreUnreachableError",
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


class BundleError(QuickstudyError, RuntimeError):
    """A bundle, or a learner of one, that cannot be written, read back or used."""


class WorkersError(QuickstudyError, RuntimeError):
    """Processes of one job that have lost each other; what was saved is kept."""


class ExtraError(QuickstudyError, ImportError):
    """A package that comes with an extra of quickstudy, and is not installed or cannot be imported."""


class StoreError(QuickstudyError, RuntimeError):
    """A database of learners that cannot do what was asked; what it acknowledged before is kept."""


class StoreBusyError(StoreError):
    """The database is locked, or all its connections are in use. Nothing was changed; the same may work in a moment."""


class StoreFullError(StoreError):
    """The database has no room left on its disk. Nothing was changed; reading still works."""


class StoreDamagedError(StoreError):
    """What the database holds is not what was written."""


class StoreUnreachableError(StoreError):
    """The database does not answer, or may not be written."""


class StoreQuotaError(StoreError):
    """A tenant has as many learners as it may."""
