"""Photographs in an object store or another place that has a URL, such as s3:// or gs://, by pyarrow's file systems."""

import os
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote, urlsplit, urlunsplit

from sagan_jax.data.file_list import files_of, names_in
from sagan_jax.data.image_format import IMAGE_SUFFIXES, has_image_suffix, is_passed_over, kind_of_bytes
from sagan_jax.errors import UnusableFile, UserError, one_line, printable

_READS = 3  # of a file, for one may fail by chance


class StorePlace(NamedTuple):
    """A store of files.

    Attributes:
        uri: What pyarrow opens it by.
        root: What goes before a file's path in it.
        prefix: What goes there in the file's URL instead.
    """

    uri: str
    root: str
    prefix: str


class SourceFile(NamedTuple):
    """A file to score, by the name that its verdict has.

    Attributes:
        name: A path or a URL.
        place: The object store that it is in; None of a file on a disk.
    """

    name: str
    place: StorePlace | None

    def __fspath__(self) -> str:
        return self.name

    @property
    def path(self) -> str:
        """Its path, in full, where it is."""
        if self.place is None:
            return os.fspath(Path.cwd() / self.name)
        return self.place.root + self.name.removeprefix(self.place.prefix)


def list_source_files(named: Sequence[str], stdin: Callable[[], bytes]) -> list[SourceFile]:
    """The files that a command line names, as `sagan_jax.data.file_list.list_files` does, and those that URLs name.

    A URL may name a file or what is a folder in its store, which is searched as a folder on a disk is.

    Raises:
        UserError: As `list_files`, or if there is no such store or it cannot be searched.
    """
    files: list[SourceFile] = []
    for name in names_in(named, stdin):
        if _is_url(name):
            files += _images_in_store(name)
        else:
            files += [SourceFile(os.fspath(path), None) for path in files_of(name)]
    return files


def _is_url(name: str) -> bool:
    """Whether a name on a command line is a URL."""
    return "://" in name


def _images_in_store(url: str) -> list[SourceFile]:
    """The file at a URL, or the images below it, sorted by their paths; what `is_passed_over` is left out.

    What has the suffix of an image is a file without a question to the store: there may be a long list of such.
    """
    import pyarrow as pa
    from pyarrow import fs

    try:
        parts = urlsplit(url)
        opened, place = _place(parts.scheme, parts.netloc, parts.query)
        base = place.root + unquote(parts.path).rstrip("/")
        a_file = not url.endswith("/") and Path(parts.path).suffix.lower() in IMAGE_SUFFIXES
        if a_file or opened.get_file_info(base or "/").type != fs.FileType.Directory:
            return [SourceFile(place.prefix + base.removeprefix(place.root), place)]
        found = opened.get_file_info(fs.FileSelector(base or "/", recursive=True))
        paths = sorted(
            info.path
            for info in found
            if info.is_file and not any(map(is_passed_over, info.path[len(base) + 1 :].split("/")))
        )
        return [
            SourceFile(place.prefix + path.removeprefix(place.root), place) for path in paths if _is_image(opened, path)
        ]
    except (OSError, pa.ArrowException, ValueError) as error:
        raise UserError(f"{printable(url)} cannot be searched: {one_line(str(error))}") from error


@lru_cache
def _place(scheme: str, netloc: str, query: str) -> tuple[Any, StorePlace]:
    """A store opened, and where it is."""
    uri = urlunsplit((scheme, netloc, "/", query, "")) if netloc else f"{scheme}:///"
    opened, root = _opened(uri)
    named = netloc.rpartition("@")[2] if scheme in ("s3", "gs", "gcs") else netloc  # a verdict is to have no password
    return opened, StorePlace(uri, root.rstrip("/"), f"{scheme}://{named}")


@lru_cache
def _opened(uri: str) -> tuple[Any, str]:
    """Pyarrow's file system of a URI, and the URI's path in it."""
    from pyarrow import fs

    return fs.FileSystem.from_uri(uri)


def _is_image(store: Any, path: str) -> bool:
    """As `sagan_jax.data.image_format.is_image`, of a file in a store: few need a look at their first bytes."""
    if has_image_suffix(Path(path)):
        return True
    with store.open_input_file(path) as file:
        return kind_of_bytes(file.read(32)) is not None


def read_from_store(uri: str, path: str) -> bytes:
    """A file's content; what fails by chance is tried again. Raises UserError, which says why it cannot be read."""
    for pause in range(_READS):
        time.sleep(pause)
        try:
            with _opened(uri)[0].open_input_file(path) as file:
                return file.read()
        except OSError as error:
            lasting = isinstance(error, (FileNotFoundError, PermissionError, IsADirectoryError))
            if lasting or pause + 1 == _READS:
                why = os.strerror(error.errno) if error.errno else one_line(str(error))
                raise UnusableFile(Path(path), f"cannot be read ({why})") from error
    raise AssertionError
