"""Pure functions from values or features to numbers."""
