"""Finding the App that ``penstock worker`` is to run, and saying why it is not found."""

import importlib
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from penstock.cli.exits import CommandError, ExitCode

if TYPE_CHECKING:
    from penstock_client.worker import App


def find_app(spec: str) -> "App":
    """Return the App that ``module:name`` names; ``module`` alone means ``module:app``. The working directory counts.

    Raises:
        CommandError: there is no such module (USAGE), it cannot be imported (CONFIG), or has no such App (USAGE).
    """
    from penstock_client.worker import App

    module_name, _, name = spec.partition(":")
    if not module_name or module_name.endswith(".py") or "/" in module_name:
        raise CommandError(ExitCode.USAGE, f"{spec!r} names no module", "Write it as in an import: package.module:app.")
    module = _import(module_name)
    found = getattr(module, name or "app", None)
    if isinstance(found, App):
        return found
    apps = [f"{module_name}:{key}" for key, value in vars(module).items() if isinstance(value, App)]
    wanted = f"{name or 'app'!r} in module {module_name!r}"
    happened = f"there is no {wanted}" if found is None else f"{wanted} is a {type(found).__name__}, not an App"
    raise CommandError(ExitCode.USAGE, happened, f"It has {', '.join(apps)}." if apps else "It has no App at all.")


def _import(name: str) -> ModuleType:
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise _failed(name, error) from error
        advice = f"Looked in {here} and where Python looks."
        raise CommandError(ExitCode.USAGE, f"there is no module {error.name!r}", advice) from error
    except (Exception, SystemExit) as error:  # an application's code may raise anything
        raise _failed(name, error) from error


def _failed(name: str, error: BaseException) -> CommandError:
    happened = f"importing {name!r} failed with {type(error).__name__}: {error}{_place(error)}"
    return CommandError(ExitCode.CONFIG, happened, "Run it again with PENSTOCK_DEBUG=1 for a traceback.")


def _place(error: BaseException) -> str:
    """Where in the application it was raised: its last line outside of Python's own importing."""
    if isinstance(error, SyntaxError):
        return ""  # says it by itself
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not frame.filename.startswith("<frozen")]
    return f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
