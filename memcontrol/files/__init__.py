"""What lies on disk: names, atomic writes, digests, journals, checkpoints' records, and what no text may name."""
