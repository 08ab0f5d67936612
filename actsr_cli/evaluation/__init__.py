"""How well the next item is ranked: metrics, full-catalogue ranking, the popularity floor."""
