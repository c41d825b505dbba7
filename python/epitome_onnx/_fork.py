"""Models in a process that was forked.

The threads of ONNX Runtime do not exist in a child process, and locks that another thread held at
the fork stay locked there. So a child opens its models again, when it first uses them, and never
touches those of its parent.
"""

import atexit
import ctypes
import os
import threading
from typing import Protocol
from weakref import WeakSet


class Reopened(Protocol):
    """Something that is opened again in a child process."""

    def forget(self) -> None:
        """Forgets what the parent opened."""


opening = threading.RLock()
"""Held while a model is opened: nobody forks in the middle of that."""

_alive: WeakSet[Reopened] = WeakSet()


def watch(model: Reopened) -> None:
    """Has `model` forget itself in child processes."""
    _alive.add(model)


def _in_child() -> None:
    global opening
    opening = threading.RLock()
    for model in _alive:
        model.forget()
    if _alive:
        _leave_without_destructors()


def _leave_without_destructors() -> None:
    """ONNX Runtime would look at exit for threads that only the parent has, and abort."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):
        # Called with the status of the process, before what was registered earlier.
        libc.on_exit(libc._exit, None)
        atexit.register(libc.fflush, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: opening.acquire(),
        after_in_parent=lambda: opening.release(),
        after_in_child=_in_child,
    )
