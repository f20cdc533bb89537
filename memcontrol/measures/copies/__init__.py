"""Is an image a copy of a training image, also if it was changed?

Both are compared as reliefs: what stands out from its surroundings, whatever brightness, contrast and gamma. An image
may be mirrored, cut off-centre, shifted, rotated by a few degrees or inverted, and may share only parts with a training
image: poses of it are tried against all training images, the most similar ones are registered to it, and what counts
is how well the parts that fit best agree. `memcontrol plant` tells on one's own data what this finds.
"""

from memcontrol.measures.copies.encoder import CopyEncoder
from memcontrol.measures.copies.finder import CopyFinder, Match, rarity
from memcontrol.measures.copies.groups import ALIKE, groups_of_copies

__all__ = ["ALIKE", "CopyEncoder", "CopyFinder", "Match", "groups_of_copies", "rarity"]
