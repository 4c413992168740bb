"""The degradation experiment of "Deep Residual Learning for Image Recognition".

`import resnet_degradation as rd` makes the commands available as functions (docs/python.md). Each
name is loaded at its first use, so that the import itself is fast.
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from resnet_degradation.api.inspection import Inspection, inspect
    from resnet_degradation.api.net import resnet
    from resnet_degradation.api.run import Run, evaluate, load, plot, train
    from resnet_degradation.api.study import StudyResult, study
    from resnet_degradation.system.errors import UserError

__version__ = "0.2.0"

__all__ = [
    "Inspection",
    "Run",
    "StudyResult",
    "UserError",
    "evaluate",
    "inspect",
    "load",
    "plot",
    "resnet",
    "study",
    "train",
]

_MODULES = {
    "api.inspection": ("Inspection", "inspect"),
    "api.net": ("resnet",),
    "api.run": ("Run", "evaluate", "load", "plot", "train"),
    "api.study": ("StudyResult", "study"),
    "system.errors": ("UserError",),
}

if not TYPE_CHECKING:  # because of __getattr__, a type checker would accept any name
    import sys
    from types import ModuleType

    class _Package(ModuleType):
        """Keeps the functions train and study if the modules with these names are imported."""

        def __setattr__(self, name: str, value: Any) -> None:
            if name not in __all__ or not isinstance(value, ModuleType):
                super().__setattr__(name, value)

    sys.modules[__name__].__class__ = _Package

    def __getattr__(name: str) -> Any:
        from importlib import import_module

        for module, names in _MODULES.items():
            if name in names:
                value = getattr(import_module(f"{__name__}.{module}"), name)
                globals()[name] = value
                return value
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return [*globals(), *__all__]
