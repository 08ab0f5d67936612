"""Tables for notebooks, in HTML with everything escaped."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # whoever only writes pages does not wait for pandas
    import pandas as pd

_BAR = "rgba(66, 133, 244, 0.35)"  # seen on light and on dark pages


def table_html(title: str, frame: pd.DataFrame, shares: Sequence[str] = (), notes: Sequence[str] = ()) -> str:
    """A table below its title.

    Args:
        title: the line above the table; "" for none.
        frame: the rows; other numbers than whole ones are shown with three decimals.
        shares: columns of numbers from 0 to 1, which are shown in percent, each with a bar behind it.
        notes: sentences below the table.
    """
    head = "".join(f"<th>{escape(str(name))}</th>" for name in frame.columns)
    rows = (
        "".join(_cell(value, name in shares) for name, value in zip(frame.columns, row, strict=True))
        for row in frame.itertuples(index=False, name=None)
    )
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    above = f"<h4>{escape(title)}</h4>" if title else ""
    below = "".join(f"<p>{escape(note)}</p>" for note in notes)
    return f"{above}<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{below}"


def _cell(value: Any, is_share: bool) -> str:
    if is_share:
        width = f"{100 * min(max(float(value), 0.0), 1.0):.1f}%"
        style = f"min-width: 6em; background: linear-gradient(to right, {_BAR} {width}, transparent {width})"
        return f'<td style="{style}">{float(value):.1%}</td>'
    return f"<td>{escape(f'{value:.3f}' if isinstance(value, float) else str(value))}</td>"
