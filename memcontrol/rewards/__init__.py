"""Rewards: measured quantities with intervals."""
