"""The app in `hubbub serve module:attribute`: finding it, or saying what is wrong with the name."""

import inspect
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from hubbub.brokers.base import BadBroker
from hubbub.cli.ends import SaidNo, WrongUsage
from hubbub.hub import Hub

EXAMPLE: Final = "give module:attribute, such as main:app"


def load(target: str) -> Any:
    """The ASGI app that `module:attribute` names; the current directory is looked at first."""
    name, colon, path = target.partition(":")
    if not colon or not all(part.isidentifier() for part in [*name.split("."), *path.split(".")]):
        raise WrongUsage(f"APP is {target!r}; {EXAMPLE}")
    sys.path.insert(0, str(Path.cwd()))
    app: Any = _import(name)
    for attribute in path.split("."):
        try:
            app = getattr(app, attribute)
        except AttributeError as exc:
            raise WrongUsage(f"module {name!r} has no attribute {path!r}; {EXAMPLE}") from exc
    _check(app, target)
    return app


def _import(name: str) -> ModuleType:
    try:
        return import_module(name)
    except BadBroker as exc:
        raise WrongUsage(f"{name}: {exc}") from exc
    except Exception as exc:
        if isinstance(exc, ModuleNotFoundError) and _is_of(exc.name, name):
            raise WrongUsage(
                f"there is no module {exc.name!r}, neither here nor installed; {EXAMPLE}"
            ) from exc
        # The module is there and raised: its author wants to see where.
        _print_traceback(exc)
        raise SaidNo(f"importing {name} failed: {type(exc).__name__}: {exc}") from exc


def _is_of(missing: str | None, name: str) -> bool:
    """Whether the missing module is the wanted one or a package around it, not one that it imports."""
    return missing is not None and f"{name}.".startswith(f"{missing}.")


def _print_traceback(exc: Exception) -> None:
    """The traceback from the module on, without our steps and the import system's before it."""
    frames = exc.__traceback__
    while frames is not None and _is_machinery(frames.tb_frame.f_code.co_filename):
        frames = frames.tb_next
    traceback.print_exception(type(exc), exc, frames)


def _is_machinery(file: str) -> bool:
    return file == __file__ or "importlib" in file


def _check(app: Any, target: str) -> None:
    if inspect.isclass(app) or not callable(app) or not _takes_three(app):
        hint = (
            "give the app that includes its router" if isinstance(app, Hub) else "give one such as FastAPI()"
        )
        raise WrongUsage(f"{target} is {_described(app)}, which is no ASGI app; {hint}")


def _takes_three(app: Any) -> bool:
    try:
        inspect.signature(app).bind("scope", "receive", "send")
    except TypeError:
        return False
    except ValueError:
        pass  # something compiled that does not say what it takes
    return True


def _described(app: Any) -> str:
    if inspect.isclass(app):
        return f"the class {app.__name__}"
    if inspect.isroutine(app):
        return f"the function {app.__name__}()"
    return f"of type {type(app).__name__}"
