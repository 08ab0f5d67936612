"""One module per subcommand: its options and what it prints. What it does lives on the floors below."""
