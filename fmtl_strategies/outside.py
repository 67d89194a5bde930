"""Strategies that live outside this project: `strategy = "my_module:MyStrategy"`."""

from __future__ import annotations

import hashlib
import importlib
import inspect
import os
import re
import sys
from collections.abc import Collection
from pathlib import Path
from types import ModuleType
from weakref import WeakKeyDictionary

from fmtl_strategies.contract.paths import STRATEGY_PATH, strategy_folder
from fmtl_strategies.parameters import StrategyParameters
from fmtl_strategies.round.base import PersonalizedStrategy

_OUTSIDE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_NAME = re.compile(r"[a-z0-9][a-z0-9-]*")
# Of each class when it was first used: its file may be edited while the process goes on with the code it has loaded.
_SOURCES: WeakKeyDictionary[type[PersonalizedStrategy], dict[str, str]] = WeakKeyDictionary()


class UnknownStrategyError(ValueError):
    """A strategy that is not registered, or a class outside the project that cannot be used."""


def _refused(name: str, why: str) -> UnknownStrategyError:
    return UnknownStrategyError(f"strategy = {name!r}: {why}")


def is_outside(name: str) -> bool:
    """Whether a strategy's name means a class outside this project."""
    return ":" in name


def outside_class(name: str, taken: Collection[str]) -> type[PersonalizedStrategy]:
    """Import and check a class outside this project.

    Args:
        name: `module:Class`.
        taken: names of this project's strategies.

    Raises:
        UnknownStrategyError: nothing to import under that name, or not a strategy; says what to change.
    """
    module_name, _, attribute = name.partition(":")
    if not _OUTSIDE.fullmatch(name):
        raise _refused(name, "expected module:Class, as in my_module:MyStrategy")
    module = _outside_module(name, module_name)
    found = getattr(module, attribute, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if _is_strategy(value) and not inspect.isabstract(value)]
        known = f"it has {', '.join(sorted(classes))}" if classes else "it has no strategy at all"
        raise _refused(name, f"{module_name} ({module.__file__}) has no {attribute}; {known}. Correct the name")
    if not _is_strategy(found):
        raise _refused(
            name,
            f"{attribute} in {module_name} is not a class derived from "
            f"fmtl_strategies.round.base.PersonalizedStrategy. Derive it from that class",
        )
    if (fault := _fault(found, taken)) is not None:
        raise _refused(name, fault)
    checked: type[PersonalizedStrategy] = found
    if checked not in _SOURCES:
        _SOURCES[checked] = _source(name, checked)
    return checked


def recorded_source(cls: type[PersonalizedStrategy]) -> dict[str, str]:
    """Return `file` (its name) and `sha256` of the file that defines a class which `outside_class` has returned."""
    return _SOURCES[cls]


def _source(name: str, cls: type[PersonalizedStrategy]) -> dict[str, str]:
    path = Path(inspect.getfile(cls))
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _refused(
            name,
            f"its file {path} cannot be read ({error}), so a run could not record which code it "
            f"ran. Put the module into a file of its own, not into an archive",
        ) from error
    return {"file": path.name, "sha256": hashlib.sha256(content).hexdigest()}


def _outside_module(name: str, module_name: str) -> ModuleType:
    """Import a module that is installed, or lies in the folder of strategies.

    That folder comes last on the import path: nothing in it can take the place of this project's packages, of the
    standard library or of an installed library (decision 0018).
    """
    folder = strategy_folder(os.environ)
    if str(folder) not in sys.path:
        sys.path.append(str(folder))
        importlib.invalidate_caches()
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{module_name}.".startswith(f"{error.name}."):
            raise _refused(
                name, f"{module_name} imports {error.name}, which is not installed. Install it, or take the import out"
            ) from error
        raise _refused(
            name,
            f"there is no module {error.name}, neither installed nor in {folder}. Start the "
            f"command in the folder that holds it, or name that folder in the environment variable {STRATEGY_PATH}",
        ) from error
    top = module_name.partition(".")[0]
    meant = next((path for path in (folder / f"{top}.py", folder / top / "__init__.py") if path.is_file()), None)
    loaded = getattr(sys.modules[top], "__file__", None)
    if meant is not None and (loaded is None or Path(loaded).resolve() != meant.resolve()):
        raise _refused(
            name, f"{meant} is hidden by another module of that name ({loaded or 'part of Python'}). Rename yours"
        )
    return module


def _is_strategy(found: object) -> bool:
    return isinstance(found, type) and issubclass(found, PersonalizedStrategy) and found is not PersonalizedStrategy


def _fault(found: type[PersonalizedStrategy], taken: Collection[str]) -> str | None:
    """Say what a class lacks that the rest of the project takes from every strategy; None where it is complete."""
    if missing := sorted(getattr(found, "__abstractmethods__", frozenset())):
        return f"the class does not define {', '.join(missing)}. Write it"
    for attribute, example in (("name", "like-minded"), ("summary_line", "mean of clients that agree")):
        value = getattr(found, attribute, None)
        if not isinstance(value, str) or not value:
            return f'the class has no {attribute}. Add a line such as {attribute} = "{example}"'
    name, model = f"name = {found.name!r}", found.parameters_model
    if not _NAME.fullmatch(found.name):
        return (
            f"{name} must consist of small letters, digits and hyphens, because settings begin with it. Choose another "
            f"name"
        )
    if found.name in taken:
        return f"{name} is that of a strategy of this project. Choose another name"
    if not (isinstance(model, type) and issubclass(model, StrategyParameters)):
        return (
            f"parameters_model = {model!r} is not a class derived from fmtl_strategies.parameters.StrategyParameters. "
            f"Derive it from that class"
        )
    return None
