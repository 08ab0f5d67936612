"""One module per command: its options and its output. Other packages do the work."""
