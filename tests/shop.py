"""Helpers for tests of the preparation: a small log in CSV."""

from __future__ import annotations

from pathlib import Path

from actsr_cli.data.readers import Columns
from actsr_cli.data.sequences import SequenceData
from actsr_cli.data.sources import Source, source_from_file

LOG = "user,item,time,rating\nb,x,3,1\na,y,2,5\nb,z,1,4\na,x,2,3\nb,x,9,2\nc,y,1,5\n"


def source(folder: Path, text: str = LOG, name: str = "shop") -> Source:
    file = folder / "log.csv"
    file.write_text(text)
    return source_from_file(folder / "data", name, file, "csv", Columns())


def sequences(data: SequenceData) -> dict[str, list[str]]:
    return {
        name: [data.item_names[item] for item in data.items[start:end]]
        for name, start, end in zip(data.user_names, data.offsets[:-1], data.offsets[1:], strict=True)
    }
