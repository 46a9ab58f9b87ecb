"""Makes `externals` importable for the tests beside it, and for MERIDIAN_EXTERNAL."""

from __future__ import annotations

import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

_spec = spec_from_file_location("externals", Path(__file__).with_name("externals.py"))
assert _spec is not None
assert _spec.loader is not None
_module = module_from_spec(_spec)
sys.modules["externals"] = _module
_spec.loader.exec_module(_module)
