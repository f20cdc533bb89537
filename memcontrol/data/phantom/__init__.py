"""Chest phantoms: X-ray-like images drawn from a seed, with reports that describe them."""
