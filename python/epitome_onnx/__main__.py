"""The command `epitome`."""

import signal
import sys
from typing import NoReturn

from . import _epitome


def main() -> NoReturn:
    """Runs the command line of epitome, and ends the process."""
    # Python's handler waits for the interpreter, which does not run meanwhile.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _epitome.main(sys.argv[1:])


if __name__ == "__main__":
    main()
