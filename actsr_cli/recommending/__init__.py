"""From raw histories to raw items: recommendations, similar items, scores and explanations of a trained model."""
