"""What several commands make of their options."""

from __future__ import annotations

import os

import click


def processors() -> int:
    """Those that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def row_range(text: str) -> slice:
    """The rows that a --rows option names. Raises click.BadParameter."""
    parts = text.split(":")
    try:
        numbers = [int(x) if x.strip() else None for x in parts]
    except ValueError:
        numbers = []
    if len(numbers) == 1 and numbers[0] is not None:
        start = numbers[0]
        return slice(start, start + 1 if start != -1 else None)
    if len(numbers) == 2:
        return slice(*numbers)
    raise click.BadParameter(f"{text!r} is not a range such as 0:10", param_hint="--rows")
