"""Captioned images: MIMIC-CXR, image folders, prepared tables, and drawn phantoms."""
