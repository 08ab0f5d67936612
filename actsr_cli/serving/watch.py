"""Looks for newer runs of the served model, and lets them take over."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from logging import getLogger
from pathlib import Path

from actsr_cli.errors import ActsrError
from actsr_cli.experiment.find import Listed, list_runs
from actsr_cli.experiment.record import RunRecord
from actsr_cli.plugins import in_words
from actsr_cli.serving.answers import try_out
from actsr_cli.serving.service import Opener, Service

SECONDS = 2.0
"""Between two looks."""
_Stamp = frozenset[tuple[str, int, int]]

_log = getLogger("actsr")


def successors(runs_dir: Path, served: RunRecord) -> list[Listed]:
    """The runs that may take the place of a served one, the latest first.

    They are finished later, on the same data set, with the same model. A final model that was trained on all data is
    only followed by such a one, and a run with held-out items by such a run. Trials of studies do not count.
    """
    found = [
        each
        for each in list_runs(runs_dir)
        if each.record is not None and each.record.finished and each.record.trial is None
        if (each.record.dataset, each.record.model) == (served.dataset, served.model)
        if (each.record.source is None) == (served.source is None) and _end(each.record) > _end(served)
    ]
    return sorted(found, key=lambda each: "" if each.record is None else _end(each.record), reverse=True)


class Watch:
    """Lets newer runs take over.

    Args:
        service: where they take over.
        runs_dir: root of the runs.
        opener: opens them.
    """

    def __init__(self, service: Service, runs_dir: Path, opener: Opener) -> None:
        self._service, self._runs_dir, self._opener = service, runs_dir, opener
        self._broken: dict[Path, _Stamp] = {}  # files of runs that could not be opened, as they were then
        self._seen: dict[Path, _Stamp] = {}  # files of newer runs, as they were at the latest look

    async def run(self) -> None:
        """Look again and again, until it is cancelled."""
        while True:
            await asyncio.sleep(SECONDS)
            try:
                await self.look()
            except OSError as error:  # such as a network drive that is away for a while
                _log.warning("%s cannot be read: %s", self._runs_dir, error.strerror)

    async def look(self) -> None:
        """Let the latest newer run that can be opened take over.

        A broken one is logged and counted, and tried again when its files have changed and then stayed as they are
        from one look to the next: it may be a copy that was not whole yet.
        """
        for each in await asyncio.to_thread(successors, self._runs_dir, self._service.served.record):
            stamp = await asyncio.to_thread(_stamp, each.path)
            before, self._seen[each.path] = self._seen.get(each.path), stamp
            if each.path in self._broken and (stamp == self._broken[each.path] or stamp != before):
                continue
            try:
                served = await asyncio.to_thread(self._opener.open_folder, each.path)
                await self._service.batcher.alone(lambda served=served: try_out(served.recommender), 0)  # type: ignore[misc]
            except Exception as error:  # noqa: BLE001 (code of a model may raise anything, and the old one goes on)
                told = error.message if isinstance(error, ActsrError) else in_words(error)
                _log.warning("The newer run %s cannot be served; the old one stays: %s", each.name, told)
                self._service.metrics.broken.inc()
                self._broken[each.path] = stamp
                continue
            self._service.serve(served)
            self._service.metrics.swaps.inc()
            _log.info("Serving %s now", served.recommender.name)
            return


def _stamp(folder: Path) -> _Stamp:
    """Names, times and sizes of the files of a run."""
    found = set()
    for file in folder.iterdir():
        with suppress(FileNotFoundError):  # a file that is written under another name first
            status = file.stat()
            found.add((file.name, status.st_mtime_ns, status.st_size))
    return frozenset(found)


def _end(record: RunRecord) -> str:
    return record.ended or record.started
