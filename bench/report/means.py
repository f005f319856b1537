"""The number of each row in each column, which tables, figures and `bench why` share."""

import math
from collections.abc import Sequence

from bench.report.rows import Row
from bench.report.scores import Column, cell_values
from bench.report.stats import Mean, mean_over_seeds


def means_of(rows: Sequence[Row], columns: Sequence[Column]) -> list[list[Mean | None]]:
    """Returns the mean of each row in each column; None where there is none."""
    values = [_row_values(row) for row in rows]
    return [[_mean(of_row, column) for column in columns] for of_row in values]


def _row_values(row: Row) -> dict[Column, dict[int, dict[str, float]]]:
    """Column -> seed -> image -> value."""
    values: dict[Column, dict[int, dict[str, float]]] = {}
    for cell in row.cells:
        for column, images in cell_values(cell).items():
            values.setdefault(column, {})[cell.seed] = images
    return values


def _mean(values: dict[Column, dict[int, dict[str, float]]], column: Column) -> Mean | None:
    found = mean_over_seeds(values[column], column.pool) if column in values else None
    return None if found is None or math.isnan(found.value) else found
