"""The calibrated attention of packed histories on a GPU: kernels of Triton, and the operation that runs them."""
