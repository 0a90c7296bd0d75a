"""What commands say, and how: a result as text or as JSON, bars while there is work, colours where
somebody sees them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import click

_QUIET, _JSON = "aezip.quiet", "aezip.json"
Command = TypeVar("Command", bound=Callable[..., Any])


def output_options(command: Command) -> Command:
    """Gives a command --quiet and --json, which `result` and `bar` respect."""

    def keep(key: str) -> Callable[[click.Context, click.Parameter, bool], None]:
        def callback(context: click.Context, _: click.Parameter, value: bool) -> None:
            context.meta[key] = value

        return callback

    for key, name, text in (
        (_JSON, "--json", "Print the result as one line of JSON."),
        (_QUIET, "--quiet", "Print nothing but errors."),
    ):
        option = click.option(
            name, is_flag=True, expose_value=False, callback=keep(key), help=text
        )
        command = option(command)
    return command


def is_quiet() -> bool:
    """Whether nothing is to be printed but errors."""
    meta = click.get_current_context().meta
    return bool(meta.get(_QUIET)) and not meta.get(_JSON)


def wants_json() -> bool:
    """Whether the result is to be JSON."""
    return bool(click.get_current_context().meta.get(_JSON))


def result(text: str, data: Mapping[str, Any]) -> None:
    """What a command found or did, once, on standard output. data: what JSON can hold, and paths.

    Names that are no text are escaped in JSON as Python escapes them, so that no name is lost.
    """
    if wants_json():
        click.echo(json.dumps(data, default=_plain, allow_nan=False))
    elif not is_quiet():
        click.echo(text, color=_coloured())


def say(text: str) -> None:
    """Something for a person alone."""
    if not wants_json() and not is_quiet():
        click.echo(text, color=_coloured())


def bar(total: float | None = None, **options: Any) -> Any:
    """A tqdm bar on standard error with the time left, where that is a terminal and wanted."""
    from tqdm import tqdm  # not above: looking at an image should not wait for it

    return tqdm(total=total, disable=True if is_quiet() else None, **options)


def heading(text: str) -> str:
    """Bold on a terminal."""
    return click.style(text, bold=True)


def good(text: str) -> str:
    """Green on a terminal."""
    return click.style(text, fg="green")


def failures(failed: Iterable[tuple[str, str]]) -> list[dict[str, str]]:
    """What could not be done, as `result` takes it."""
    return [{"name": name, "why": why} for name, why in failed]


def warn(failed: Sequence[tuple[str, str]]) -> None:
    """One line on standard error for each that could not be done."""
    for _, why in failed:
        error(why)


def error(text: str) -> None:
    """One line on standard error."""
    who = click.style("aezip:", fg="red", bold=True)
    click.echo(f"{who} {text}", err=True, color=_coloured())


def counted(count: int, what: str = "image") -> str:
    """So many of them: 1 image, 2,000 images."""
    return f"{count:,} {what}" + ("" if count == 1 else "s")


def duration(seconds: float) -> str:
    """As one says it: 0.8 s, 42 s, 3:05 min."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 60:
        return f"{seconds:.0f} s"
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d} min"


def _coloured() -> bool | None:
    """Never where NO_COLOR is set (https://no-color.org), else on terminals."""
    return False if os.environ.get("NO_COLOR") else None


def _plain(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"{type(value).__name__} is nothing that JSON can hold")
