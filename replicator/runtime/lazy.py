"""Lazy imports: each name of a package is imported from its module on first access, so a program that needs a few names
starts without the rest. Readers and type checkers find the names in the package's __init__.pyi."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def lazily(package: str, names: Mapping[str, str]) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """Return `__all__` and `__getattr__` of a package. `names` are the names of each of its modules, separated by blanks."""
    modules = {name: module for module, given in names.items() for name in given.split()}

    def get(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{modules[name]}"), name)
        setattr(sys.modules[package], name, value)  # later accesses find it there
        return value

    return sorted(modules), get, lambda: sorted({*vars(sys.modules[package]), *modules})
