"""Jobs: runs of `fit` elsewhere, in workers of this machine or of others; their entry is named as text."""
