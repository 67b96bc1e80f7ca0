"""What long work shows: a progress bar on a terminal, plain lines elsewhere; tables on both."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

T = TypeVar("T")

# Plain lines for a pipe or a log file: at most one in this many seconds.
_PLAIN_SECONDS = 10.0
_PIPE_WIDTH = 10_000
# A bar that leaves room for facts, and how often they are asked for.
_NARROW = 12
_BAR_SECONDS = 0.5
# Names, and kinds with their counts, in a line that is to stay one.
_NAMES = 3
_KINDS = 6


def console(*, stderr: bool = False) -> Console:
    """The console of this process; rich itself obeys NO_COLOR and notices a pipe.

    A pipe has no width, so tables there are as wide as they need to be.
    """
    stream = sys.stderr if stderr else sys.stdout
    return Console(file=stream, highlight=False, soft_wrap=True, width=None if stream.isatty() else _PIPE_WIDTH)


def info(message: str) -> None:
    """Print one line for the user."""
    console().print(message, markup=False)


def info_names(title: str, names: Sequence[str], *, verbose: bool) -> None:
    """Print `title` and the first of `names` on one line, with `verbose` each on its own; nothing without names."""
    if not names:
        return
    if verbose:
        info("\n  ".join([f"{title}:", *names]))
        return
    rest = len(names) - _NAMES
    more = f", and {rest} more (-v names them)" if rest > 0 else ""
    info(f"{title}: {', '.join(names[:_NAMES])}{more}")


def listed(counts: Mapping[str, int]) -> str:
    """`*.jpg 12, *.png 3`: the most frequent first, and no more than a line takes."""
    ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    named = [f"{name} {count}" for name, count in ordered[:_KINDS]]
    return ", ".join([*named, f"{len(ordered) - _KINDS} more kinds"] if len(ordered) > _KINDS else named)


def warn(message: str) -> None:
    """Print one warning line on standard error."""
    console(stderr=True).print(f"warning: {message}", markup=False, style="yellow")


def track(items: Iterable[T], description: str, total: int, facts: Callable[[], str] | None = None) -> Iterator[T]:
    """Yield `items`, showing how many of `total` are done (on standard error).

    facts: what else to tell, in place of the time that is left; asked for when it is shown, not for every item.
    """
    out = console(stderr=True)
    if out.is_terminal:
        yield from _bar(out, items, description, total, facts)
        return
    last = time.monotonic()
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() - last >= _PLAIN_SECONDS:
            last = time.monotonic()
            more = f", {facts()}" if facts else ""
            out.print(f"{description}: {done} of {total}{more}", markup=False)


def _bar(
    out: Console, items: Iterable[T], description: str, total: int, facts: Callable[[], str] | None
) -> Iterator[T]:
    last = TextColumn("{task.fields[facts]}", markup=False) if facts else TimeRemainingColumn()
    columns = (TextColumn("{task.description}"), BarColumn(_NARROW if facts else 40), MofNCompleteColumn(), last)
    with Progress(*columns, console=out, transient=True) as bar:
        task, shown = bar.add_task(description, total=total, facts=""), -math.inf
        for item in items:
            yield item
            bar.advance(task)
            if facts and time.monotonic() - shown >= _BAR_SECONDS:
                shown = time.monotonic()
                bar.update(task, facts=facts())


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], *, title: str = "") -> None:
    """Print a table; the first column is left-aligned, the others right-aligned."""
    grid = Table(title=escape(title) or None, title_justify="left")
    for position, column in enumerate(columns):
        grid.add_column(escape(column), justify="left" if position == 0 else "right", no_wrap=True)
    for row in rows:
        grid.add_row(*(escape(str(cell)) for cell in row))
    console().print(grid)
