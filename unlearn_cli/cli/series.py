"""Curves of checkpoints as tables for people: a line for each place, a column for each checkpoint."""

from collections.abc import Sequence

from rich.table import Table
from rich.text import Text

from unlearn_cli.cli.tables import GAP, in_unit, packed, ruled_table
from unlearn_cli.metrics.report import Series


def tables(series: Series, names: Sequence[str], width: int) -> list[Table]:
    """Places down, checkpoints across; as many tables as the width asks for."""
    downs = cells(series)
    label_width = max(map(len, [series.place, *series.shown]))
    widths = [max(len(text) for text in [*name.split(), *down]) for name, down in zip(names, downs)]
    found = []
    for part in packed(widths, width - label_width - GAP):
        table = ruled_table()
        table.add_column(series.place, no_wrap=True)
        for i in part:
            table.add_column(names[i], justify="right", width=widths[i])
        for place, across in zip(series.shown, zip(*(downs[i] for i in part))):
            table.add_row(Text(place), *across)
        found.append(table)
    return found


def cells(series: Series) -> list[list[str]]:
    """What each checkpoint's column shows."""
    chosen = [series.places.index(place) for place in series.shown]
    return [["-" if values[i] is None else in_unit(values[i], series.unit) for i in chosen] for values in series.values]
