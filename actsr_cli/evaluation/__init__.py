"""Evaluation of next-item rankings: protocols, the ranker, metrics, significance."""
