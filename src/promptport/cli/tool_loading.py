"""``--tool``: the tool that a name on the command line stands for.

Rule: a name that leads nowhere is a `ConfigurationError` that says where it broke off.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from promptport.errors import ConfigurationError
from promptport.tools import Tool, tool

__all__ = ["load_function", "load_tool"]


def load_tool(name: str) -> Tool[Any]:
    """Return the tool that ``module:function``, ``path.py:function`` or ``path.py:Class.method`` names.

    A plain function is made a tool. For a method that needs an instance, the class is called without arguments.

    Raises:
        ConfigurationError: no such module, file or function, or a class that needs arguments.
        InvalidInputError: a function that cannot be a tool.
    """
    place, colon, path = name.rpartition(":")
    if not colon or not place or not path:
        raise ConfigurationError(
            f"--tool takes module:function, path.py:function or Class.method for the function, not {name!r}"
        )
    found: Any = _module(place)
    for part in path.split("."):
        owner, found = found, inspect.getattr_static(found, part, None)
        if found is None and not hasattr(owner, part):
            raise ConfigurationError(f"--tool {name}: {_called(owner, place)} has no {part!r}")
        of_instance = isinstance(found, Tool) and found.unbound and not isinstance(found.function, classmethod)
        if isinstance(owner, type) and (inspect.isfunction(found) or of_instance):
            owner = _instance(owner, name)
        found = _attribute(owner, part, f"--tool {name}")
    return found if isinstance(found, Tool) else tool(found)


def load_function(name: str, *, option: str) -> Callable[..., Any]:
    """Return the function that ``module:function`` or ``path.py:function`` names.

    Raises:
        ConfigurationError: no such module, file or function.
    """
    place, colon, path = name.rpartition(":")
    if not colon or not place or not path:
        raise ConfigurationError(f"{option} takes module:function or path.py:function, not {name!r}")
    found: Any = _module(place, option)
    for part in path.split("."):
        owner, found = found, _attribute(found, part, f"{option} {name}")
        if found is None:
            raise ConfigurationError(f"{option} {name}: {_called(owner, place)} has no {part!r}")
    if not callable(found):
        raise ConfigurationError(f"{option} {name}: it is {type(found).__name__}. Name a function.")
    return found  # type: ignore[no-any-return]


_modules: dict[Path, ModuleType] = {}
"""The files that were run, each once, however many tools are taken from it."""

_instances: dict[type, object] = {}
"""One for each class, so that the tools of a class share it."""


def _attribute(owner: object, name: str, where: str) -> Any:
    """The attribute, or ``None``; a property may raise anything."""
    try:
        return getattr(owner, name, None)
    except Exception as error:
        raise ConfigurationError(f"{where}: {name!r} cannot be read: {type(error).__name__}: {error}") from error


def _instance(owner: type, name: str) -> object:
    try:
        if owner not in _instances:
            _instances[owner] = owner()
        return _instances[owner]
    except Exception as error:
        raise ConfigurationError(
            f"--tool {name}: {owner.__name__}() could not be called: {error}. "
            f"Write a function in the file that calls the method of an instance, or make the method static."
        ) from error


def _called(owner: object, place: str) -> str:
    return place if isinstance(owner, ModuleType) else getattr(owner, "__name__", type(owner).__name__)


def _module(place: str, option: str = "--tool") -> ModuleType:
    try:
        if not place.endswith(".py"):
            sys.path.insert(0, str(Path.cwd()))
            return importlib.import_module(place)
        return _module_of_file(Path(place).resolve())
    except (Exception, SystemExit) as error:  # what it runs may raise anything
        reason = (
            str(error) if isinstance(error, ImportError | OSError | SyntaxError) else f"{type(error).__name__}: {error}"
        )
        raise ConfigurationError(f"{option}: {place} cannot be imported: {reason}") from error


def _module_of_file(path: Path) -> ModuleType:
    if path not in _modules:
        name = f"promptport_file_{path.stem}"  # a file json.py must not take the place of json
        spec = importlib.util.spec_from_file_location(name, path)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where a class of the file looks for the names in its annotations
        spec.loader.exec_module(module)
        _modules[path] = module
    return _modules[path]
