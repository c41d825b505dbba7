"""Starts the command line in a process of its own, isolated: nothing is imported from the folder
that it runs in, where documents may lie.

    python -I -S _start.py MODULE LIBRARY ARGUMENT...

MODULE is the file of `_epitome`, and LIBRARY that of ONNX Runtime, which may be empty.
"""

import signal
import sys
from importlib.util import module_from_spec, spec_from_file_location

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    module, library, *arguments = sys.argv[1:]
    spec = spec_from_file_location("epitome_onnx._epitome", module)
    assert spec is not None and spec.loader is not None
    _epitome = module_from_spec(spec)
    spec.loader.exec_module(_epitome)
    if library:
        _epitome.use_library(library)
    _epitome.use_program(sys.executable, ["-I", "-S", __file__, module, library])
    _epitome.main(arguments)
