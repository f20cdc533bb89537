"""`plant`: what would an audit of these data find, and how often would it be wrong?"""

from __future__ import annotations

from memcontrol.audit.planted import AuditsDetector, Detector, clean_sets, found_shares, mixed_sets, planted
from memcontrol.data.base import CaptionedImageDataModule
from memcontrol.errors import RewardError
from memcontrol.measures.encoders import Encoder, LiteEncoder
from memcontrol.ranges import check_ranges

__all__ = ["plant"]


def plant(data: CaptionedImageDataModule, encoders: list[Encoder] | None, alpha: float, level: float) -> str:
    """Plant copies of training images among held-out ones and return the tables of what is found.

    Args:
        data: The data; training images are copied, the test split sets thresholds and is mixed in.
        encoders: Encoders whose features are compared with what audits do; by default EfficientNet-Lite0.
        alpha: Share of false alarms at which thresholds are set.
        level: Level of the verdict.
    """
    check_ranges(RewardError, "", {"alpha": alpha, "level": level}, {"alpha": "(0, 1)", "level": "(0, 1)"})
    data.setup("test")
    rivals = [LiteEncoder()] if encoders is None else encoders
    names = [rival.name for rival in rivals]
    detectors: dict[str, Detector] = {"audit": AuditsDetector()}
    detectors |= {(r.name if names.count(r.name) == 1 else repr(r)): Detector(r) for r in rivals}
    plants = {name: planted(data, detector) for name, detector in detectors.items()}
    audits = next(iter(plants.values()))
    found = found_shares(data, plants, alpha)
    wrong = clean_sets(data, audits, alpha, level)
    mixed = mixed_sets(data, audits, alpha, level)
    patients = len(audits.copies["exact"])
    return (
        f"{len(data.table('train'))} training images; {len(data.table('test'))} held-out images, of whose patients "
        "one half sets the threshold and the other is tested.\n\nShare of planted copies (one image of each of "
        f"{patients} training patients) found at {100 * alpha:g} % false alarms:\n{found.round(3).to_string()}\n\n"
        f"Share of sets of 100 images said to leak (audit, level {level}), by share of copies:\n"
        f"{mixed.round(3).to_string()}\n\nClean sets said to leak: {wrong} of 40"
    )
