"""Print the table of measures that stands in the README, from what the measures say of themselves.

python tools/measures_table.py
"""

from __future__ import annotations

from memcontrol.measures import MEASURES


def table() -> str:
    """Return the table, in Markdown: a row per measure that can be a reward."""
    rows = [
        f"| `{m.name}` | {m.group} | {'higher' if m.higher_is_better else 'lower'} | {m.words} |"
        for m in MEASURES.values()
        if m.is_reward
    ]
    return "\n".join(["| measure | of | better | what it tells |", "| --- | --- | --- | --- |", *rows])


if __name__ == "__main__":
    print(table())
