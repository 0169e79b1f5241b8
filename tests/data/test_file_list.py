import errno
import os
from pathlib import Path

import pytest
from photographs import picture, save
from PIL import Image

from sagan_jax.data.file_list import list_files, read_list
from sagan_jax.data.image_file import read_image
from sagan_jax.errors import UserError

NAMES = ["a.png", "шуруп 1.png", "b c.jpg"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\0"])
def test_byte_order_marks_are_heeded(encoding, ending):
    assert read_list("".join(name + ending for name in NAMES).encode(encoding)) == NAMES
    assert read_list(ending.join(NAMES).encode(encoding)) == NAMES  # the last without its ending


def test_big_endian_utf_16_with_its_mark():
    assert read_list("\ufeffa.png\nü/b.png\n".encode("utf-16-be")) == ["a.png", "ü/b.png"]


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_utf_16_without_a_mark_is_refused_and_nothing_is_searched(encoding, monkeypatch):
    monkeypatch.setattr(os, "walk", lambda folder: pytest.fail(f"searched {folder}"))
    with pytest.raises(UserError, match=r"looks like UTF-16 without a byte order mark.*in UTF-8"):
        list_files(["-"], lambda: "/home/me/photographs/a.png\n/home/me/b.png\n".encode(encoding))


@pytest.mark.parametrize(
    ("listed", "reason"),
    [
        (b"photographs/a.png\0\0photographs/b.png\0", "do not end a name"),
        (b"\0photographs/a.png\0", "do not end a name"),
        (b"photographs/a.png\nphotographs/b\0.png\n", "NULs and line breaks"),
        (b"\xff\xfea", "begins as utf-16 does"),
    ],
)
def test_nuls_that_end_no_name_are_refused(listed, reason):
    with pytest.raises(UserError, match=f"{reason}.*print0"):
        read_list(listed)


@pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
def test_so_is_utf_16_of_a_script_that_has_few_nuls(encoding):
    with pytest.raises(UserError, match=r"NULs"):
        read_list("шурупы и гайки на складе.png\nшурупы.png\n".encode(encoding))


def test_line_breaks_in_names_that_nul_ends_are_theirs():
    assert read_list(b"a\nb.png\0c.png\0") == ["a\nb.png", "c.png"]


@pytest.mark.skipif(os.name == "nt", reason="POSIX names")
def test_names_that_are_no_text_are_kept():
    assert [os.fsencode(name) for name in read_list(b"\xff\xe9.png\n")] == [b"\xff\xe9.png"]


@pytest.fixture
def working(tmp_path, monkeypatch):
    save(tmp_path / "above.png", picture(0))
    save(tmp_path / "here/below/in.png", picture(1))
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


@pytest.mark.parametrize("name", ["/", "..", "../", "../..", "below/../..", "link"])
def test_a_list_does_not_set_off_a_search_above_the_working_folder(working, name):
    (working / "here/link").symlink_to(working)
    with pytest.raises(UserError, match="above the working folder"):
        list_files(["-"], name.encode)


def test_folders_that_are_spelled_out_are_searched(working):
    found = {working / "above.png", working / "here/below/in.png"}
    assert set(list_files(["-"], str(working).encode)) == found
    assert list_files(["-"], b".\nbelow\n".strip) == [Path("below/in.png")] * 2
    assert {path.resolve() for path in list_files([".."], bytes)} == found  # on the command line itself
    (working / "beside").mkdir()
    assert list_files(["-"], b"../beside".strip) == []  # is not above


def test_a_name_too_long_for_the_system_is_a_file_like_any_that_is_not_there():
    assert list_files(["-"], (b"a" * 5000 + b"\n").strip) == [Path("a" * 5000)]


def test_a_folder_gives_all_that_looks_like_an_image_even_what_is_not_read(tmp_path):
    for name, kind in (("a.png", "PNG"), ("no suffix", "PNG"), ("b.gif", "GIF"), ("c.jp2", "JPEG2000"), ("d", "GIF")):
        Image.fromarray(picture(0)).save(tmp_path / name, kind)
    (tmp_path / "e.HEIC").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no image")
    os.mkfifo(tmp_path / "pipe")
    found = [file.name for file in list_files([str(tmp_path)], bytes)]
    assert found == ["a.png", "b.gif", "c.jp2", "d", "e.HEIC", "no suffix"]


def test_folders_of_thumbnails_and_deleted_files_that_systems_make_are_left_out(tmp_path):
    for folder in ("@eaDir/a.png", "__MACOSX", "$RECYCLE.BIN", "#recycle", "kept"):
        save(tmp_path / folder / "SYNOFILE_THUMB_M.png", picture(0))
    assert [file.parent.name for file in list_files([str(tmp_path)], bytes)] == ["kept"]


def test_a_folder_that_cannot_be_searched_is_told_of(tmp_path, monkeypatch):
    save(tmp_path / "open/a.png", picture(0))
    (tmp_path / "shut").mkdir()
    search = os.scandir

    def scandir(folder):
        if Path(folder).name == "shut":
            raise PermissionError(errno.EACCES, "Permission denied", str(folder))
        return search(folder)

    monkeypatch.setattr(os, "scandir", scandir)
    found = list_files([str(tmp_path)], bytes)
    assert found == [tmp_path / "open/a.png", tmp_path / "shut"]
    with pytest.raises(UserError, match="shut: a folder that cannot be read"):
        read_image(found[1])
