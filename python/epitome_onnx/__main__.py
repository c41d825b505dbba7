"""The command `epitome`."""

import signal
import sys

from . import _epitome


def main() -> int:
    """Runs the command line of epitome, and returns the code to exit with."""
    # Python's handler waits for the interpreter, which does not run meanwhile.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    return _epitome.main(sys.argv[1:])


if __name__ == "__main__":
    sys.exit(main())
