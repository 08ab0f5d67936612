"""Reads checkpoints that were written with pickle protocol 4, as RecBole writes them, without running code from them.

PyTorch's safe reader, `torch.load(weights_only=True)`, knows protocol 2 alone. `_translated` writes a pickle of
protocol 4 again in protocol 2: instructions in, instructions out, none is carried out. On the way, the classes that
RecBole's settings name become `StandIn`, and every other name that is not PyTorch's own is refused.
"""

from __future__ import annotations

import io
import pickle
import pickletools
import re
import struct
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from torch.serialization import safe_globals

from actsr_cli.errors import DataError
from actsr_cli.words import shortened

_LARGEST = 64 * 2**20
"""Number of bytes of a pickle above which it is not read: the tensors of a checkpoint are in other members."""
_STANDS_IN = re.compile(
    r"recbole\.(config\.configurator\.Config|utils\.enum_type\.\w+|model\.[\w.]+)|yaml\.loader\.FullLoader"
    r"|numpy\.dtype|numpy\._?core\.multiarray\.scalar"
)
"""What RecBole's `Config`, and the best value that it has measured, are made of."""
_PYTORCH = re.compile(r"torch\.(device|\w+Storage)|torch\._utils\._rebuild_\w+|collections\.OrderedDict")
"""Names that `torch.load(weights_only=True)` judges itself."""
_TEXTS = {"SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8"}
_BYTES = {"SHORT_BINBYTES", "BINBYTES"}
_GETS = {"BINGET", "LONG_BINGET"}
_PUTS = {"BINPUT", "LONG_BINPUT"}
_SAME = re.compile(
    "MARK|STOP|NONE|NEW(TRUE|FALSE|OBJ)|BININT[12]?|BINFLOAT|LONG1|BINPERSID|REDUCE|BUILD"
    "|(EMPTY_)?TUPLE|TUPLE[123]|EMPTY_(LIST|DICT)|APPENDS?|SETITEMS?"
)
"""Instructions that both protocols have."""


class StandIn:
    """Stands for an object of RecBole: it keeps the state of the object, and does nothing.

    Attributes:
        state: what the object was made of.
    """

    state: Any = None

    def __init__(self, *given: object) -> None:
        """Take no notice of what the object is called with."""

    def __setstate__(self, state: object) -> None:
        self.state = state


def mentions(path: Path, name: str) -> bool:
    """Whether a pickle in a file has a name in it. No instruction of it is carried out."""
    if not zipfile.is_zipfile(path):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return any(_is_pickle(member) for member in archive.infolist()) and (
                name.encode() in _pickle_of(archive, path)[1]
            )
    except (zipfile.BadZipFile, NotImplementedError) as error:
        raise _damaged(path, error) from error


def read_pickled(path: Path) -> Any:
    """The content of a checkpoint, with `StandIn` in place of RecBole's objects.

    Raises:
        DataError: it names something else than PyTorch's tensors and RecBole's settings, or is damaged.
    """
    safe = io.BytesIO()
    try:
        with zipfile.ZipFile(path) as archive, zipfile.ZipFile(safe, "w") as written:
            name, content = _pickle_of(archive, path)
            for member in archive.infolist():
                if member.compress_type != zipfile.ZIP_STORED:
                    raise _damaged(path, f"{member.filename} is compressed, which torch.save never does")
                own = member.filename == name
                written.writestr(member.filename, _translated(content, path) if own else archive.read(member))
        safe.seek(0)
        with safe_globals([StandIn]), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about storages of tensors, which only PyTorch can mend
            return torch.load(safe, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, pickle.UnpicklingError, RuntimeError, EOFError, LookupError, TypeError) as error:
        raise _damaged(path, error) from error
    except (ValueError, AttributeError, OverflowError, NotImplementedError, struct.error) as error:
        raise _damaged(path, error) from error


def _pickle_of(archive: zipfile.ZipFile, path: Path) -> tuple[str, bytes]:
    """The name and the content of the pickle in a checkpoint."""
    found = [member for member in archive.infolist() if _is_pickle(member)]
    if len(found) != 1 or found[0].file_size > _LARGEST:
        raise _damaged(path, f"it has {len(found)} pickles" if len(found) != 1 else "its pickle is too large")
    return found[0].filename, archive.read(found[0])


def _is_pickle(member: zipfile.ZipInfo) -> bool:
    return member.filename.rpartition("/")[2] == "data.pkl"


def _translated(content: bytes, path: Path) -> bytes:
    """A pickle of protocol 4 in protocol 2.

    Every text is written out where it is used, so that two of them can become a name again.

    Raises:
        DataError: it has an instruction or a name that a checkpoint of RecBole does not have.
        ValueError: it is no pickle.
    """
    written: list[bytes] = []
    texts: list[str | None] = []  # the text that each written instruction pushes
    kept: dict[int, str | None] = {}  # what the memo holds, if it is a text

    def write(instruction: bytes, text: str | None = None) -> None:
        written.append(instruction)
        texts.append(text)

    instructions: list[tuple[Any, Any, Any]] = list(pickletools.genops(content))
    ends = [at for _, _, at in instructions[1:]] + [len(content)]
    for (code, argument, at), end in zip(instructions, ends, strict=True):
        if _SAME.fullmatch(code.name):
            write(content[at:end])
        elif code.name in _TEXTS or code.name in _BYTES:
            write(*_text(argument if isinstance(argument, str) else argument.decode("latin-1")))
        elif code.name in _GETS:
            text = kept[argument]
            write(*(struct.pack("<cI", pickle.LONG_BINGET, argument), None) if text is None else _text(text))
        elif code.name == "MEMOIZE" or code.name in _PUTS:
            place = len(kept) if argument is None else argument
            kept[place] = texts[-1]
            if texts[-1] is None:
                write(struct.pack("<cI", pickle.LONG_BINPUT, place))
        elif code.name == "STACK_GLOBAL":
            module, name = texts[-2:]
            del written[-2:], texts[-2:]
            write(_name(f"{module}.{name}", path))
        elif code.name == "GLOBAL":
            write(_name(argument.replace(" ", "."), path))
        elif code.name == "PROTO":
            write(pickle.PROTO + bytes([2]))
        elif code.name != "FRAME":
            raise _damaged(path, f"it has the instruction {code.name}, which no checkpoint of RecBole needs")
    return b"".join(written)


def _text(text: str) -> tuple[bytes, str]:
    """The instruction that pushes a text, and the text."""
    content = text.encode(errors="surrogatepass")
    return pickle.BINUNICODE + struct.pack("<I", len(content)) + content, text


def _name(name: str, path: Path) -> bytes:
    """The instruction that looks a class or function up.

    Raises:
        DataError: it is neither PyTorch's nor RecBole's.
    """
    if _STANDS_IN.fullmatch(name):
        name = f"{StandIn.__module__}.{StandIn.__qualname__}"
    elif not _PYTORCH.fullmatch(name):
        raise DataError(
            f"{path} names {shortened(name)}, which is no part of a checkpoint of RecBole: it was not opened",
            hint="Whoever opens such a file with pickle may run code from it.",
        )
    return pickle.GLOBAL + "\n".join([*name.rsplit(".", 1), ""]).encode()


def _damaged(path: Path, reason: object) -> DataError:
    return DataError(f"{path} cannot be read as a checkpoint: {shortened(' '.join(str(reason).split()), 200)}")
