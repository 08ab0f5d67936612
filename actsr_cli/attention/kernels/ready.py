"""Has everything compiled before the first call."""

from __future__ import annotations

from functools import cache


@cache
def make_ready() -> None:
    """Compile in another process what is not on disk, see `compile_elsewhere`."""
    from actsr_cli.attention.kernels.backward import backward
    from actsr_cli.attention.kernels.compiling import compile_elsewhere
    from actsr_cli.attention.kernels.forward import forward
    from actsr_cli.attention.kernels.rows import exponentials

    compile_elsewhere([forward, backward, exponentials], "actsr_cli.attention.kernels.first_call")
