"""The annotation folder: each file is read, refused, or ignored with a reason."""

import pytest

from sheep.annotations.readers import read_files
from sheep.annotations.readers.folder import Folder
from sheep.errors import ConfigError
from tests.unit.annotations.files import bout, read, tabular

PLAIN = "video,animal,label,start_s,stop_s\ncam2.mp4,m2,lying,1,2\n"


def folder(**files: str) -> Folder:
    named = {name.replace("__", "."): text.encode() for name, text in files.items()}
    return read_files(named, named.__getitem__)


def test_every_file_is_reported() -> None:
    found = read_files(
        names := {
            "sub/b.csv": PLAIN.encode(),
            "a.tsv": tabular(*bout(1, 2)).encode("cp1252"),
            "notes.txt": b"Camera 2 fell over,\nsee the diary; we don't use it",
            "._a.tsv": b"\0\1",
            ".DS_Store": b"\0",
            "~$a.xlsx": b"\0",
            "Thumbs.db": b"\0",
            "photo.jpg": b"\xff\xd8",
        },
        names.__getitem__,
    )
    assert [(one.name, one.tool, one.num_codings) for one in found.files] == [
        (".DS_Store", "", 0),
        ("._a.tsv", "", 0),
        ("Thumbs.db", "", 0),
        ("a.tsv", "BORIS tabular events", 1),
        ("notes.txt", "", 0),
        ("photo.jpg", "", 0),
        ("sub/b.csv", "plain intervals", 1),
        ("~$a.xlsx", "", 0),
    ]
    assert [coding.media for coding in found.codings] == ["cam1.mp4", "cam2.mp4"]
    assert all(bool(one.notes) != bool(one.tool) for one in found.files)


def test_the_encoding_is_noted_once() -> None:
    [report] = folder(x__csv=PLAIN).files
    assert report.notes == ()
    found = read_files(["x.csv"], lambda _: PLAIN.replace("m2", "Zo\xeb").encode("cp1252"))
    assert found.codings[0].animal == "Zo\xeb"
    assert found.files[0].notes == ("not UTF-8, read as Windows-1252: check its accented letters",)


@pytest.mark.parametrize(
    ("name", "content", "tool"),
    [
        ("x.csv", "# CSV_HEADER = metadata_id,file_list,flags\n", "VGG Image Annotator"),
        ("x.annot", "Bento annotation file\n", "Bento"),
        ("x.TextGrid", 'File type = "ooTextFile"\nObject class = "TextGrid"\n', "Praat"),
        ("x.json", '{"annotator-id_0": {}}', "CalMS21"),
        ("x.mat", "MATLAB 5.0", "MATLAB"),
        ("x.odx", "", "Noldus"),
        ("x.zip", "PK", "an archive program"),
        ("x.csv.gz", "", "an archive program"),
    ],
)
def test_a_known_format_that_is_not_read_is_named(name: str, content: str, tool: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: a file of {tool}.*not read\. "):
        read(name, content)


@pytest.mark.parametrize(
    ("name", "text"), [("x.csv", "a,b\n1,2\n"), ("x.tsv", ""), ("x.json", "{}"), ("x.xml", "<a/>")]
)
def test_an_unknown_file_of_data_is_refused(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=rf"{name}: its format is not known, expected one of: BORIS project"):
        read(name, text)


def test_an_unknown_table_is_refused_whatever_its_ending() -> None:
    with pytest.raises(ConfigError, match=r"x\.txt: its format is not known"):
        read("x.txt", "Video\tBeast\tFrom\tTo\ncam1\tm1\t1\t2\n")


def test_an_unclosed_quotation_mark_is_named_where_it_hides_the_header() -> None:
    with pytest.raises(ConfigError, match=r"x\.csv, row 1: .*quotation mark"):
        read("x.csv", '"' + PLAIN)


def test_a_broken_spreadsheet_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x\.xlsx: no spreadsheet that can be read"):
        read("x.xlsx", b"PK\x03\x04fake")
