"""Names that a package gives, each imported from its module when it is asked for: who needs a few of them starts without the
rest. What the names are, for readers and type checkers, is in the package's __init__.pyi."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, names: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any]]:
    """`__all__` and `__getattr__` of a package. `names` are what each of its modules gives, separated by blanks."""
    modules = {name: module for module, given in names.items() for name in given.split()}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)  # the next time it is simply there
        return value

    return sorted(modules), get
