"""One tree of errors, drawn in its module, each also what Python programmers expect."""

import quickstudy.errors as errors
from quickstudy.errors import QuickstudyError


def test_the_tree():
    kinds = {name: getattr(errors, name) for name in errors.__all__}
    for name, kind in kinds.items():
        assert issubclass(kind, QuickstudyError)
        assert kind.__doc__
        assert name in errors.__doc__, f"{name} is missing from the drawing"
    builtin = {name: kind.__mro__[2].__name__ for name, kind in kinds.items() if kind.__bases__[0] is QuickstudyError}
    assert builtin == {
        "SettingsError": "ValueError",
        "TaskError": "ValueError",
        "DataError": "ValueError",
        "MethodError": "TypeError",
        "TrainingError": "RuntimeError",
        "CheckpointError": "RuntimeError",
        "BundleError": "RuntimeError",
        "WorkersError": "RuntimeError",
        "StoreError": "RuntimeError",
        "ExtraError": "ImportError",
    }


def test_all_names_every_error():
    defined = {name for name, kind in vars(errors).items() if isinstance(kind, type)}
    assert set(errors.__all__) == defined
