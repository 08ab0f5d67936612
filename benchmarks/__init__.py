"""Repeatable measurements: each compares two things in one run, since machines differ and are noisy."""
