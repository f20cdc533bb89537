"""What all trials of a private study cost together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from memcontrol.errors import CheckpointError
from memcontrol.files.run_folder import PRIVACY
from memcontrol.plain import read_mapping
from memcontrol.privacy import Guarantee
from memcontrol.privacy.accounting import epsilon_of

__all__ = ["budget_line"]


def budget_line(runs: Iterable[Path]) -> str | None:
    """Return a sentence on what trials have cost those whom they were trained on, or None where none was private.

    Args:
        runs: Folders of trials.
    """
    files = [run / PRIVACY for run in runs]
    spent = [_read(path) for path in files if path.is_file()]
    if not spent:
        return None
    delta = max(part.delta for part in spent)
    total = epsilon_of([part.taken for part in spent], delta)
    if math.isinf(total):
        return "Privacy: not all trials had noise, so the study has no bound."
    return (
        f"Privacy: the {len(spent)} trials that began have together spent epsilon {total:.3g} at delta {delta:.0e} "
        f"of the patients that they were trained on (added up by {spent[0].by}); what is fitted on other patients "
        "adds nothing to it. Held-out patients, who chose between trials, have no bound."
    )


def _read(path: Path) -> Guarantee:
    return Guarantee.from_dict(read_mapping(path, CheckpointError).get("guarantee"))
