"""Sharing out work over processes.

Ctrl-C is the parent's affair alone: it ends its workers. A worker that dies is an error and never
a missing result, and workers do not outlive their parent.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from typing import Any, TypeVar

from aezip import interrupts
from aezip.errors import AezipError

Batch = TypeVar("Batch")
Result = TypeVar("Result")

_work: Callable[[Any], Any] | None = None


@contextmanager
def crew(
    make: Callable[..., Callable[[Batch], Result]], state: tuple[Any, ...], jobs: int
) -> Iterator[Callable[[Sequence[Batch]], Iterator[Result]]]:
    """`jobs` processes, each of which calls `make(*state)` once. Gives a function that maps
    batches to their results, in their order; where one process dies it raises AezipError."""
    others = set(multiprocessing.active_children())
    with (
        _one_thread_each(),
        ProcessPoolExecutor(
            jobs, multiprocessing.get_context("spawn"), _start, (make, state)
        ) as pool,
    ):

        def run(batches: Sequence[Batch]) -> Iterator[Result]:
            with interrupts.later():
                return pool.map(_do, batches)

        try:
            yield run
        except BrokenProcessPool as error:
            raise AezipError(
                "a process that shared the work was ended from outside (out of memory?); "
                "try fewer --jobs"
            ) from error
        except BaseException:
            for process in set(multiprocessing.active_children()) - others:
                process.terminate()
            raise
        finally:
            pool.shutdown(cancel_futures=True)


def share_out(
    make: Callable[..., Callable[[Batch], Result]],
    state: tuple[Any, ...],
    batches: Sequence[Batch],
    jobs: int,
) -> Generator[Result]:
    """The results of `make(*state)(batch)` for each batch, in their order, from a `crew`."""
    with crew(make, state, jobs) as run:
        yield from run(batches)


def _start(make: Callable[..., Callable[[Any], Any]], state: tuple[Any, ...]) -> None:
    global _work
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work = make(*state)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _do(batch: Any) -> Any:
    assert _work is not None
    return _work(batch)


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """Worker processes started meanwhile compute on one thread each: BLAS reads the environment
    when it is loaded."""
    names = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(dict.fromkeys(names, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name)
            else:
                os.environ[name] = value
