"""Generates the `demo` data: a log of household routines whose next item can be learnt."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path

from actsr_cli.data.catalog import Counts
from actsr_cli.data.demo_items import NOISE_TITLES, ROUTINES
from actsr_cli.files import write_text

DEMO_SEED = 2024
DEMO_USERS = 2_000

_STEPS = 10
_GATEWAYS = 2
_HOP = 0.18
_SKIP = 0.10
_FIRST_GATEWAY = 0.75
_NOISE = 0.24
_SHORTEST = 6
_LONGEST = 30
_GO_ON = 0.80
_START = 1_700_000_000
_DAY = 86_400


@dataclass(frozen=True)
class _Item:
    """An item of the demo data; noise items belong to no routine."""

    item_id: str
    title: str
    category: str
    noise: bool


@dataclass(frozen=True)
class _World:
    """Items 0 .. signal-1 form rings of `_STEPS` items; noise items follow. gateways[i] are the exits from item i."""

    items: tuple[_Item, ...]
    gateways: tuple[tuple[int, ...], ...]

    @property
    def signal(self) -> int:
        return len(self.gateways)

    @property
    def noise_items(self) -> range:
        return range(self.signal, len(self.items))


@dataclass
class _Walk:
    """State of a user: an item of a ring, and the direction (+1 or -1) of the walk along the ring."""

    item: int
    direction: int


def generate_demo(directory: Path, seed: int = DEMO_SEED, users: int = DEMO_USERS) -> Counts:
    """Write demo.inter and demo.item into `directory`; a seed gives the same bytes on every machine.

    How the log is generated:

    - *Signal items* are the steps of household routines, each a ring of ten (beans, grinder, kettle, ...). A user
      walks a ring forwards or backwards, sometimes skipping a step. The direction is drawn on entering a ring and then
      kept. So the next item depends on the last two signal items *in their order*: after (grinder, scale) comes the
      kettle, after (scale, grinder) come the beans.
    - Sometimes the user moves to another routine, days later: each item has two gateways to items of other routines.
      No item occurs twice in a user's log.
    - *Noise items* (gift cards, batteries, ...) are about every fifth item, drawn only by popularity (Zipf). They are
      the most frequent items and carry no information about the next item, so attention to them is wasted. In
      demo.item their `noise` is 1.
    - Held-out items are drawn like all others. If the target is a noise item, it can only be guessed by its
      popularity, as a popularity ranking does.

    Each signal item starts the log of the same number of users (up to one more or less), so that with 2,000 users a
    5-core keeps everything.

    Args:
        directory: an existing folder.
        seed: random seed.
        users: number of users; below 1,500 a 5-core may drop rare items.

    Returns:
        The numbers of users, items and interactions written.
    """
    # random.Random(seed).random() is the only stream that Python guarantees to be the same in all versions.
    rng = random.Random(seed)  # noqa: S311
    world = _build_world(rng)
    starts = _shuffled(rng, list(range(world.signal)))
    popularity = [1 / (rank + 1) for rank in range(len(world.noise_items))]
    rows: list[tuple[int, str]] = []
    for user in range(users):
        for item, time in _draw_log(rng, world, starts[user % world.signal], popularity):
            rating = 3 + _below(rng, 3)
            rows.append((time, f"u{user + 1:04d}\t{world.items[item].item_id}\t{rating}\t{time}\n"))
    rows.sort()
    _write_interactions(directory / "demo.inter", [line for _, line in rows])
    _write_items(directory / "demo.item", world.items)
    return Counts(users, len(world.items), len(rows))


def _build_world(rng: random.Random) -> _World:
    """Items with shuffled ids, so that ids do not reveal routines, and the gateways between routines."""
    entries = [(step, routine, False) for routine, steps in ROUTINES.items() for step in steps]
    entries += [(title, "everyday", True) for title in NOISE_TITLES]
    signal = len(entries) - len(NOISE_TITLES)
    numbers = _shuffled(rng, list(range(1, len(entries) + 1)))
    items = tuple(
        _Item(f"i{number:03d}", title, category, noise)
        for number, (title, category, noise) in zip(numbers, entries, strict=True)
    )
    return _World(items, tuple(_draw_gateways(rng, item, signal) for item in range(signal)))


def _draw_gateways(rng: random.Random, item: int, signal: int) -> tuple[int, ...]:
    others = [other for other in range(signal) if other // _STEPS != item // _STEPS]
    return tuple(_shuffled(rng, others)[:_GATEWAYS])


def _draw_log(rng: random.Random, world: _World, start: int, popularity: list[float]) -> list[tuple[int, int]]:
    """One user's (item, time) pairs in order; the first item is the signal item `start`."""
    walk = _Walk(start, _draw_direction(rng))
    time = _START + _below(rng, 300 * _DAY)
    log = [(start, time)]
    seen = {start}
    length = _SHORTEST
    while length < _LONGEST and rng.random() < _GO_ON:
        length += 1
    while len(log) < length:
        if rng.random() < _NOISE:
            item, gap = _draw_noise(rng, world, popularity, seen), _between(rng, 120, 7_200)
        else:
            item, gap = _step(rng, world, walk, seen)
        time += gap
        seen.add(item)
        log.append((item, time))
    return log


def _step(rng: random.Random, world: _World, walk: _Walk, seen: set[int]) -> tuple[int, int]:
    """Move the walk to an unseen signal item; return the item and the seconds since the last one."""
    stride = walk.direction * (2 if rng.random() < _SKIP else 1)
    ring, place = divmod(walk.item, _STEPS)
    onward = ring * _STEPS + (place + stride) % _STEPS
    if rng.random() >= _HOP and onward not in seen:
        walk.item = onward
        return onward, _between(rng, 300, 10_800)
    walk.item = _hop(rng, world, walk.item, seen)
    walk.direction = _draw_direction(rng)
    return walk.item, _between(rng, _DAY, 9 * _DAY)


def _hop(rng: random.Random, world: _World, item: int, seen: set[int]) -> int:
    first, second = world.gateways[item]
    ways = [first, second] if rng.random() < _FIRST_GATEWAY else [second, first]
    unseen = [way for way in ways if way not in seen] or [way for way in range(world.signal) if way not in seen]
    return unseen[0] if unseen[0] in ways else unseen[_below(rng, len(unseen))]


def _draw_noise(rng: random.Random, world: _World, popularity: list[float], seen: set[int]) -> int:
    """Draw an unseen noise item by popularity."""
    weights = [0.0 if item in seen else weight for item, weight in zip(world.noise_items, popularity, strict=True)]
    left = rng.random() * sum(weights)
    for item, weight in zip(world.noise_items, weights, strict=True):
        left -= weight
        if left < 0:
            return item
    return max(item for item, weight in zip(world.noise_items, weights, strict=True) if weight)


def _draw_direction(rng: random.Random) -> int:
    return 1 if rng.random() < 0.5 else -1


def _below(rng: random.Random, count: int) -> int:
    return int(rng.random() * count)


def _between(rng: random.Random, low: int, high: int) -> int:
    return low + _below(rng, high - low)


def _shuffled(rng: random.Random, values: list[int]) -> list[int]:
    """Shuffle `values` in place and return them (Fisher-Yates); uses only rng.random()."""
    for last in range(len(values) - 1, 0, -1):
        other = _below(rng, last + 1)
        values[last], values[other] = values[other], values[last]
    return values


def _write_interactions(path: Path, lines: list[str]) -> None:
    header = "user_id:token\titem_id:token\trating:float\ttimestamp:float\n"
    write_text(path, header + "".join(lines))


def _write_items(path: Path, items: tuple[_Item, ...]) -> None:
    header = "item_id:token\ttitle:token_seq\tcategory:token\tnoise:float\n"
    lines = [f"{item.item_id}\t{item.title}\t{item.category}\t{int(item.noise)}\n" for item in items]
    write_text(path, header + "".join(sorted(lines)))
