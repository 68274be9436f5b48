import gzip
import io
import random
import stat
import tarfile
import tracemalloc
import zipfile

import pytest

from i2i.data.archives import unpack
from i2i.errors import UserError

PIXELS = bytes(range(256)) * 8


def zip_of(path, members):
    """Members are (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members:
            file.writestr(name, data)
    return path


def tar_of(path, members, **options):
    """Members are (name or TarInfo, bytes)."""
    with tarfile.open(path, "w:gz" if path.suffix.lower() in (".gz", ".tgz") else "w", **options) as file:
        for name, data in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            info.size = len(data) if info.isreg() else 0
            file.addfile(info, io.BytesIO(data))
    return path


def zip_info(name, mode):
    info = zipfile.ZipInfo(name)
    info.external_attr = mode << 16
    return info


def tar_info(name, kind, link="", **fields):
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, link
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def files_below(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir())


def refuse(archive, **limits):
    """The message of the refusal, once it is sure that the archive is the only file around."""
    with pytest.raises(UserError) as caught:
        unpack(archive, archive.parent / "set", **limits)
    assert files_below(archive.parent) == [archive.name]
    assert not (archive.parent / "set").exists()
    return caught.value.message


@pytest.fixture
def here(tmp_path):
    """A folder two levels down, so that what climbs out of it lands in `tmp_path`; checks that nothing did."""
    folder = tmp_path / "deep" / "here"
    folder.mkdir(parents=True)
    yield folder
    assert all(name.startswith("deep/here/") for name in files_below(tmp_path))


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz", ".tgz", ".TGZ"])
def test_images_are_unpacked_below_the_top_folder_and_the_rest_is_left_out(here, suffix):
    make = zip_of if suffix == ".zip" else tar_of
    members = {
        "./maps/train/1.jpg": PIXELS,
        "maps/train/2.PNG": b"2",
        "maps//val/1.jpg": b"3",
        "maps/read me.txt": b"no",
        "maps/train/.DS_Store": b"no",
        "__MACOSX/maps/train/1.jpg": b"no",
        "maps/train/._1.jpg": b"no",
    }
    archive = make(here / f"a{suffix}", members.items())
    assert unpack(archive, here / "set", top="maps", needs=("train",)) == 3
    assert files_below(here / "set") == ["train/1.jpg", "train/2.PNG", "val/1.jpg"]
    assert (here / "set" / "train" / "1.jpg").read_bytes() == PIXELS


def test_files_get_a_plain_mode(here):
    archive = tar_of(here / "a.tar", [(tar_info("1.jpg", tarfile.REGTYPE, mode=0o6777), b"1")])
    unpack(archive, here / "set")
    assert (here / "set" / "1.jpg").stat().st_mode & 0o7111 == 0
    zipped = zip_of(here / "b.zip", [(zip_info("1.jpg", stat.S_IFREG | 0o6777), b"1")])
    unpack(zipped, here / "set2")
    assert (here / "set2" / "1.jpg").stat().st_mode & 0o7111 == 0


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_folders_may_be_listed_and_repeated(here):
    archive = zip_of(here / "a.zip", [("train/", b""), ("train/1.jpg", b"1"), ("train/", b"")])
    assert unpack(archive, here / "set") == 1


NAMES = {
    "climbs": "../x.jpg",
    "climbs from inside": "set/train/../../../x.jpg",
    "climbs out of the top": "top/../../x.jpg",
    "climbs with another suffix": "../x.txt",
    "is absolute": "/tmp/i2i-x.jpg",
    "is absolute twice": "//tmp/i2i-x.jpg",
    "has a drive": "C:x.jpg",
    "has a drive and a folder": "C:/x.jpg",
    "has a stream": "x.jpg:hidden.jpg",
    "has backslashes": "..\\..\\x.jpg",
    "is a share": "\\\\host\\share\\x.jpg",
    "has a line break": "x\n.jpg",
    "has an escape": "\x1b[2Jx.jpg",
    "ends with a dot": "x.jpg.",
    "has a folder that ends with a space": "a /x.jpg",
    "is a device": "train/NUL.jpg",
    "is too long": "a" * 260 + ".jpg",
    "is too long in bytes": "é" * 130 + ".jpg",
    "is too long in all": "/".join(["a" * 200] * 6) + "/x.jpg",
    "is too deep": "a/" * 30 + "x.jpg",
}


@pytest.mark.parametrize("name", NAMES.values(), ids=NAMES.keys())
@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_a_member_whose_name_leads_elsewhere_is_refused_by_name(here, make, name):
    archive = make(here / ("a.zip" if make is zip_of else "a.tar"), [("1.jpg", b"1"), (name, b"2")])
    assert repr(name[:100]) in refuse(archive, top="top")


def test_a_nul_in_a_name_is_refused(here):
    archive = zip_of(here / "a.zip", [("1.jpg", b"1"), ("xQ.jpg", b"2")])
    archive.write_bytes(archive.read_bytes().replace(b"xQ.jpg", b"x\0.jpg"))
    assert r"x\x00.jpg" in refuse(archive)
    archive.unlink()
    named = tar_info("1.jpg", tarfile.REGTYPE, pax_headers={"path": "x\0/../../y.jpg"})
    assert r"x\x00" in refuse(tar_of(here / "a.tar", [(named, b"1")], format=tarfile.PAX_FORMAT))


def test_a_pax_header_cannot_bring_in_a_hostile_name(here):
    named = tar_info("1.jpg", tarfile.REGTYPE, pax_headers={"path": "../../y.jpg"})
    assert "'../../y.jpg'" in refuse(tar_of(here / "a.tar", [(named, b"1")], format=tarfile.PAX_FORMAT))


ODD = {
    "symbolic link": tar_info("1.jpg", tarfile.SYMTYPE, "/etc/passwd"),
    "symbolic link inside": tar_info("1.jpg", tarfile.SYMTYPE, "2.jpg"),
    "symbolic link to a folder": tar_info("train", tarfile.SYMTYPE, "../.."),
    "symbolic link that is no image": tar_info("1.txt", tarfile.SYMTYPE, "../.."),
    "hard link": tar_info("1.jpg", tarfile.LNKTYPE, "/etc/passwd"),
    "hard link to a member": tar_info("1.jpg", tarfile.LNKTYPE, "0.jpg"),
    "character device": tar_info("1.jpg", tarfile.CHRTYPE, devmajor=1, devminor=5),
    "block device": tar_info("1.jpg", tarfile.BLKTYPE),
    "fifo": tar_info("1.jpg", tarfile.FIFOTYPE),
    "unknown type": tar_info("1.jpg", b"Z"),
    "sparse file of pax": tar_info(
        "1.jpg",
        tarfile.REGTYPE,
        pax_headers={"GNU.sparse.map": "0,1", "GNU.sparse.size": str(10**15), "GNU.sparse.name": "../y.jpg"},
    ),
}


@pytest.mark.parametrize("info", ODD.values(), ids=ODD.keys())
def test_links_devices_and_sparse_files_of_a_tar_are_refused(here, info):
    archive = tar_of(here / "a.tar", [("0.jpg", b"0"), (info, b"1"), ("train/x.jpg", b"2")], format=tarfile.PAX_FORMAT)
    assert "not a plain file" in refuse(archive)


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFBLK, stat.S_IFSOCK])
def test_links_and_devices_of_a_zip_are_refused(here, kind):
    archive = zip_of(here / "a.zip", [("0.jpg", b"0"), (zip_info("1.jpg", kind | 0o777), b"/etc/passwd")])
    assert "'1.jpg'" in refuse(archive)


def test_a_zip_with_an_unusual_compression_is_refused(here):
    with zipfile.ZipFile(here / "a.zip", "w", zipfile.ZIP_LZMA) as file:
        file.writestr("1.jpg", PIXELS)
    assert "'1.jpg'" in refuse(here / "a.zip")


CLASHES = {
    "same name": ("a/1.jpg", "a/1.jpg"),
    "same name, spelled otherwise": ("a/1.jpg", "./a//1.jpg"),
    "case": ("a/1.jpg", "a/1.JPG"),
    "case of a folder": ("a/1.jpg", "A/2.jpg"),
    "accents": ("a/é.jpg", "a/e\u0301.jpg"),
    "file as folder": ("a/1.jpg", "a/1.jpg/2.jpg"),
    "folder as file": ("a/1.jpg/2.jpg", "a/1.jpg"),
    "listed folder as file": ("a/1.jpg/", "a/1.jpg"),
    "below the top and beside it": ("top/a/1.jpg", "a/1.jpg"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("names", CLASHES.values(), ids=CLASHES.keys())
@pytest.mark.parametrize("make", [zip_of, tar_of])
def test_names_that_clash_on_some_system_are_refused(here, make, names):
    members = [(tar_info(n, tarfile.DIRTYPE) if make is tar_of and n.endswith("/") else n, b"") for n in names]
    assert "same name" in refuse(make(here / ("a.zip" if make is zip_of else "a.tar"), members), top="top")


@pytest.mark.parametrize("suffix", [".zip", ".tar.gz"])
def test_a_bomb_is_stopped_by_its_ratio(here, suffix):
    make = zip_of if suffix == ".zip" else tar_of
    archive = make(here / f"a{suffix}", [("1.jpg", bytes(40_000_000))])
    assert "'1.jpg' unpacks to far more" in refuse(archive)


def test_a_bomb_that_would_be_skipped_is_stopped_too(here):
    assert "'1.txt'" in refuse(tar_of(here / "a.tar.gz", [("1.txt", bytes(40_000_000)), ("2.jpg", b"2")]))


def test_bytes_are_counted_and_not_believed(here):
    noise = random.Random(0).randbytes(300_000)
    archive = zip_of(here / "a.zip", [("1.jpg", noise), ("2.jpg", noise)])
    assert "'2.jpg'" in refuse(archive, max_bytes=500_000)
    data = archive.read_bytes()  # now the headers claim 3 bytes
    archive.write_bytes(data.replace((300_000).to_bytes(4, "little"), (3).to_bytes(4, "little")))
    refuse(archive, max_bytes=500_000)


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_too_many_members_are_refused_whatever_they_are(here, suffix):
    make = zip_of if suffix == ".zip" else tar_of
    assert "allowed" in refuse(make(here / f"a{suffix}", [(f"{i}.txt", b"") for i in range(11)]), max_files=10)


def test_a_huge_extended_header_is_refused_without_reading_it_into_memory(here):
    with gzip.open(here / "a.tar.gz", "wb") as file:
        header = tar_info("x", tarfile.XHDTYPE)
        header.size = 200_000_000
        file.write(header.tobuf(tarfile.USTAR_FORMAT))
        file.write(bytes(1_000_000))
    tracemalloc.start()
    assert "header of 200000" in refuse(here / "a.tar.gz")
    assert tracemalloc.get_traced_memory()[1] < 5_000_000
    tracemalloc.stop()


def test_big_members_are_streamed(here):
    archive = zip_of(here / "a.zip", [("1.jpg", random.Random(0).randbytes(8_000_000))])
    packed = tar_of(here / "b.tar.gz", [("1.jpg", random.Random(0).randbytes(8_000_000))])
    tracemalloc.start()
    unpack(archive, here / "set")
    unpack(packed, here / "set2")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000
    tracemalloc.stop()


def test_a_negative_size_does_not_read_the_same_header_for_ever(here):
    info = tar_info("1.jpg", tarfile.REGTYPE, pax_headers={"size": "-1024"})
    refuse(tar_of(here / "a.tar", [(info, b""), ("2.jpg", b"2")], format=tarfile.PAX_FORMAT))


def test_headers_nested_without_end_are_an_error_for_people(here):
    header = tar_info("x", tarfile.XHDTYPE)
    (here / "a.tar").write_bytes(header.tobuf(tarfile.USTAR_FORMAT) * 3000)
    refuse(here / "a.tar")


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_an_archive_that_ends_early_is_refused_wherever_it_ends(here, suffix):
    make = zip_of if suffix == ".zip" else tar_of
    noise = random.Random(0).randbytes(1500)
    whole = make(here / f"a{suffix}", [("1.jpg", noise), ("2.jpg", noise[::-1])])
    data = whole.read_bytes()
    end = len(data.rstrip(b"\0")) if suffix == ".tar" else len(data)
    for length in [0, 1, 511, 512, 1024, 1536, 2048, 2560, 3000, end - 9, end - 1]:
        if length < end:
            whole.write_bytes(data[:length])
            assert "not a whole archive" in refuse(whole)


@pytest.mark.parametrize("suffix", [".zip", ".tar", ".tar.gz"])
def test_a_damaged_archive_is_unpacked_whole_or_refused_but_never_a_traceback(here, suffix):
    chance = random.Random(1)
    make = zip_of if suffix == ".zip" else tar_of
    archive = make(here / f"a{suffix}", [(f"train/{i}.jpg", chance.randbytes(100)) for i in range(3)])
    data = archive.read_bytes()
    for trial in range(150):
        damaged = bytearray(data)
        for _ in range(chance.randint(1, 4)):
            damaged[chance.randrange(len(data))] = chance.randrange(256)
        archive.write_bytes(damaged)
        try:
            unpack(archive, here / f"set{trial}")
        except UserError:
            assert not (here / f"set{trial}").exists()


def test_an_encrypted_zip_is_an_error_for_people(here):
    archive = zip_of(here / "a.zip", [("1.jpg", b"1")])
    data = bytearray(archive.read_bytes())
    data[6] |= 1
    data[data.index(b"PK\1\2") + 8] |= 1
    archive.write_bytes(data)
    assert "encrypted" in refuse(archive)


def test_what_is_no_archive_or_holds_no_images_is_refused(here):
    page = here / "a.zip"
    page.write_text("<html>Not found</html>")
    assert "not a whole archive" in refuse(page)
    page.unlink()
    assert "holds no images" in refuse(zip_of(here / "b.zip", [("a.txt", b"")]))
    (here / "b.zip").unlink()
    assert "in 'trainB'" in refuse(zip_of(here / "c.zip", [("trainA/1.jpg", b"")]), needs=("trainA", "trainB"))
    (here / "c.zip").unlink()
    (here / "d.rar").write_bytes(b"Rar!")
    assert "d.rar" in refuse(here / "d.rar")


def test_a_folder_that_is_there_is_never_touched(here):
    archive = zip_of(here / "a.zip", [("1.jpg", b"1")])
    (here / "set").mkdir()
    (here / "set" / "mine.txt").write_text("mine")
    with pytest.raises(UserError, match="already there"):
        unpack(archive, here / "set")
    assert files_below(here / "set") == ["mine.txt"]
