"""Sequential recommenders: backbones, the encoder they share, and the registry that names them."""
