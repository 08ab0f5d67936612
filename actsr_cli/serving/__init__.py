"""The HTTP service: a trained model behind an interface for programs, and a page for people."""
