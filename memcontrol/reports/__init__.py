"""Reports: one page template that escapes all it is given, and every figure; from plain values."""
