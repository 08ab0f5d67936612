"""Fast forms of calibrated attention, each equal to the readable form in `calibrated.py` by test."""
