"""The frame, the style and the charts of the HTML pages that actsr writes, and the same charts as pictures."""
