"""Ctrl-C at moments when it has to wait."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class TooLateError(KeyboardInterrupt):
    """Ctrl-C came while something was done that could not be left half done, and now is done."""


@contextmanager
def later(then: type[KeyboardInterrupt] = KeyboardInterrupt) -> Iterator[None]:
    """Ctrl-C counts when the block has ended well: it raises `then`. Processes started within it
    begin with SIGINT blocked, where the system can do that."""
    ours = threading.current_thread() is threading.main_thread()
    if not ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    came: list[int] = []
    # Blocking alone would not do: another thread of this process could take the signal.
    signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        if hasattr(signal, "pthread_sigmask"):
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if came:
        raise then
