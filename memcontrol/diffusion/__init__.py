"""Diffusion: parts of the pipeline, forward process, loss, sampling."""
