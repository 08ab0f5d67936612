"""How well the next item is ranked: protocols, the ranker, metrics, significance."""
