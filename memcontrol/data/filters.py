"""Row filters of a table, as text in a config: comparisons only, no calls."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import pandas as pd

from memcontrol.data.tables import name_columns, with_numbers
from memcontrol.errors import DataError

__all__ = ["chosen_rows", "keep_where"]

ALLOWED: Final = (
    ast.Expression,
    ast.BoolOp,
    ast.And,
    ast.Or,
    ast.UnaryOp,
    ast.Not,
    ast.USub,
    ast.Compare,
    ast.Eq,
    ast.NotEq,
    ast.Lt,
    ast.LtE,
    ast.Gt,
    ast.GtE,
    ast.In,
    ast.NotIn,
    ast.Name,
    ast.Load,
    ast.Constant,
    ast.List,
    ast.Tuple,
)


def chosen_rows(table: pd.DataFrame, columns: Mapping[str, str], source: Path, where: str | None) -> pd.DataFrame:
    """Return the rows that a filter keeps, with the columns of their roles.

    Args:
        table: The rows of a source.
        columns: Name of the column of each role, see `name_columns`.
        source: Where they are from, for messages.
        where: See `keep_where`, or None for all.

    Raises:
        DataError: If a column is missing, or the filter is none.
    """
    options = {role: f"data.{role.removesuffix('_id')}_column" for role in columns}
    table = name_columns(table, columns, source, options)
    if where:
        table = keep_where(table, where)
    return table[[role for role in columns if role in table]]


def keep_where(table: pd.DataFrame, where: str) -> pd.DataFrame:
    """Return the rows for which a comparison holds.

    Args:
        table: The rows.
        where: E.g. `seen == 0` or `view in ["AP", "PA"] and age >= 18`; columns, numbers, texts, lists,
            `and`, `or`, `not` and comparisons are allowed.

    Raises:
        DataError: If the text is no such comparison, names an unknown column, or leaves no row.
    """
    try:
        tree = ast.parse(where.strip(), mode="eval")
    except SyntaxError as error:
        raise DataError(f"Argument `where` must be a comparison like `seen == 0`, but got {where!r}.") from error
    for node in ast.walk(tree):
        if not isinstance(node, ALLOWED):
            raise DataError(
                f"Argument `where` may only compare columns with values, but got {where!r}, which has a "
                f"{type(node).__name__}. Example: `seen == 0 and view in ['AP', 'PA']`."
            )
        if isinstance(node, ast.Name) and node.id not in table.columns:
            raise DataError(f"Argument `where` names the column {node.id!r}, but the table has {list(table.columns)}.")
    numbers = with_numbers(table)
    try:
        kept = numbers.query(where.strip(), engine="python", local_dict={}, global_dict={})
    except (TypeError, ValueError) as error:
        kinds = {n: "numbers" if pd.api.types.is_numeric_dtype(numbers[n]) else "texts" for n in _names(tree)}
        raise DataError(
            f"Argument `where` is {where!r}, which compares columns with what they are not: {kinds}. Put texts into "
            "quotation marks, and numbers not."
        ) from error
    if kept.empty:
        found = {name: sorted(map(str, table[name].dropna().unique()))[:8] for name in _names(tree)}
        raise DataError(f"Argument `where` is {where!r}, which keeps none of the {len(table)} rows; they have {found}.")
    return table.loc[kept.index].reset_index(drop=True)


def _names(tree: ast.AST) -> list[str]:
    return sorted({node.id for node in ast.walk(tree) if isinstance(node, ast.Name)})
