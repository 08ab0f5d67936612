"""Searching settings: the space, the study that many processes share, and what came of it."""
