"""Fast forms of calibrated attention; each equals the readable form in `calibrated.py` by test."""
