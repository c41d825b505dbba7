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
    """A model that is opened again in a child process."""

    def forget(self) -> None:
        """Forgets the model that the parent opened."""


opening = threading.RLock()
"""Held while a model is opened, so that no fork happens meanwhile."""

_alive: WeakSet[Reopened] = WeakSet()


def watch(model: Reopened) -> None:
    """Makes `model` forget its state in child processes."""
    _alive.add(model)


def _in_child() -> None:
    global opening
    opening = threading.RLock()
    for model in _alive:
        model.forget()
    if _alive:
        _leave_without_destructors()


def _leave_without_destructors() -> None:
    """Skips ONNX Runtime's exit handler: it needs threads of the parent, and would abort."""
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):
        # Called with the exit status, before handlers that were registered earlier.
        libc.on_exit(libc._exit, None)
        atexit.register(libc.fflush, None)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=lambda: opening.acquire(),
        after_in_parent=lambda: opening.release(),
        after_in_child=_in_child,
    )
