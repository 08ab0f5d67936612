"""`python -m actsr_cli` is `actsr`."""

from actsr_cli.app import main

if __name__ == "__main__":
    main()
