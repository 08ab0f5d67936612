"""What the server of `processes.py` imports before it forks: reading the attention's machine code takes a second."""

from __future__ import annotations

from actsr_cli.attention.kernels import first_call

first_call.main()
