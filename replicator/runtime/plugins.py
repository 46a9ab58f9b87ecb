"""Plug-ins: user code that settings name as `module:Name`, and names that user classes declare."""

from __future__ import annotations

from collections.abc import Iterable
from importlib import import_module
from typing import Any

from replicator.domain.errors import InvalidConfig


def load(what: str, name: str) -> Any:
    """Import the object called `name`; `what` describes it in the error. Raises InvalidConfig when it cannot be loaded."""
    module, _, attribute = name.partition(":")
    if not (module and attribute) or module.startswith("."):
        raise InvalidConfig(f"{what} {name!r} is not of the form 'package.module:Name'")
    try:
        return getattr(import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise InvalidConfig(f"{what} {name!r} cannot be loaded: {error}") from None


def check_names(cls: type, base: type, kind: type, declared: Iterable[str]) -> None:
    """Raise InvalidConfig when a class declares something of `kind` under a name that is taken: by an attribute of `base`,
    which Meridian uses, or by a function of a parent class."""
    own = base.__mro__
    for name in declared:
        held = [(each, vars(each)[name]) for each in cls.__mro__[1:] if name in vars(each)]
        taken = [each for each, value in held if not isinstance(value, kind) and (each in own or hasattr(value, "__get__"))]
        if name in getattr(base, "__annotations__", {}):
            taken.append(base)
        if taken:
            raise InvalidConfig(
                f"{cls.__qualname__}.{name} is declared as a {kind.__name__.lower()}, but {taken[-1].__name__} has a "
                f"{name!r} of its own, which would be lost; choose another name"
            )
