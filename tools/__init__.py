"""What `make docs`, `make notebook`, `make recording` and `make release-check` run, and the tables of results."""
