"""Finds the ONNX Runtime library and the program for the native module.

The library lies in the package `onnxruntime`, which is found and not imported: importing it would
start a second ONNX Runtime in the process.
"""

import sys
from importlib.util import find_spec
from pathlib import Path

from . import _epitome

_NAMES = {
    "win32": ["onnxruntime.dll"],
    "darwin": ["libonnxruntime.*.dylib", "libonnxruntime.dylib"],
}
_LINUX = ["libonnxruntime.so.*", "libonnxruntime.so"]


def installed_library() -> Path | None:
    """The library file, or `None` where the package is not installed."""
    try:
        spec = find_spec("onnxruntime")
    except (ImportError, ValueError):
        return None
    for folder in (spec.submodule_search_locations or []) if spec else []:
        capi = Path(folder) / "capi"
        for name in _NAMES.get(sys.platform, _LINUX):
            for path in sorted(capi.glob(name)):
                return path
    return None


def command() -> tuple[str, list[str]]:
    """What runs the command line in another process, such as the one that reads a document: the
    interpreter and its arguments.
    """
    start = Path(__file__).with_name("_start.py")
    library = str(installed_library() or "")
    return sys.executable, ["-I", "-S", str(start), str(_epitome.__file__), library]
