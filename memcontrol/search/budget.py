"""What all trials of a private study cost together."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path

from memcontrol.errors import CheckpointError
from memcontrol.files.run_folder import METRICS, PRIVACY
from memcontrol.plain import read_mapping
from memcontrol.privacy import Guarantee
from memcontrol.privacy.accounting import able, accountant_name, epsilon_of
from memcontrol.privacy.guarantee import rounded_up

__all__ = ["budget_line"]


def budget_line(runs: Iterable[Path]) -> str | None:
    """Return a sentence on what trials have cost those whom they were trained on, or None where none was private.

    Args:
        runs: Folders of trials.
    """
    runs = list(runs)
    spent = [_read(run / PRIVACY) for run in runs if (run / PRIVACY).is_file()]
    if not spent:
        return None
    without = [run.name for run in runs if not (run / PRIVACY).is_file() and (run / METRICS).is_file()]
    if without:
        return (
            f"Privacy: {len(without)} trials ({without[0]}, ...) were trained without a bound, so the study has none."
        )
    delta = max(part.delta for part in spent)
    total = epsilon_of([part.taken for part in spent], delta)
    if math.isinf(total):
        return "Privacy: not all trials had noise, so the study has no bound."
    by = accountant_name(able("pld", [part.taken for part in spent]))
    units = "images" if any(part.unit == "image" for part in spent) else "patients"
    return (
        f"Privacy: the {len(spent)} trials that began have together spent epsilon {rounded_up(total)} at delta "
        f"{rounded_up(delta)} of the {units} that they were trained on (added up by {by}); what is fitted on other "
        "patients adds nothing to it. Held-out patients, who chose between trials, have no bound."
    )


def _read(path: Path) -> Guarantee:
    return Guarantee.from_dict(read_mapping(path, CheckpointError).get("guarantee"))
