"""Tables in whatever form a program writes them: tolerant of form, strict about meaning."""

import datetime
import io
import zipfile
from importlib import import_module

import pytest

from sheep.errors import ConfigError
from sheep.io.tables import complaint, decode, number, read_grids, read_table

LINES = ["Name,Start Time,note", "a,1.5,x", "b,2,y"]
TEXT = "\n".join(LINES) + "\n"


def rows(data: bytes | str, name: str = "x.csv") -> list[tuple[str, str, str]]:
    content = data.encode() if isinstance(data, str) else data
    found = read_table(content, name, ("name", "start_time"), ("note",))
    assert found is not None
    return [(row["name"], row["start_time"], row["note"]) for row in found.rows]


WANTED = [("a", "1.5", "x"), ("b", "2", "y")]


@pytest.mark.parametrize(
    "data",
    [
        TEXT,
        TEXT.replace(",", ";"),
        TEXT.replace(",", "\t"),
        TEXT.replace("\n", "\r\n"),
        TEXT.replace("\n", "\r"),
        "\ufeff" + TEXT,
        "sep=;\n" + TEXT.replace(",", ";"),
        "sep=,\n" + TEXT,
        "\ufeffsep=\t\r\n" + TEXT.replace(",", "\t"),
        TEXT.encode("utf-16"),
        b"\xff\xfe" + TEXT.encode("utf-16-le"),
        b"\xfe\xff" + TEXT.encode("utf-16-be"),
        "\n\n" + TEXT.replace("\n", "\n\n") + "\n,,\n  ,,\n",
        TEXT.replace("Name,Start Time,note", " NAME , start_time,NOTE"),
        "exported by x\nat,noon\n" + TEXT,
        TEXT.replace("x", '"x"').replace("a,", '"a",'),
        TEXT.rstrip(),
    ],
)
def test_the_form_does_not_matter(data: bytes | str) -> None:
    assert rows(data) == WANTED


def test_windows_1252_is_read_and_noted() -> None:
    found = read_table(TEXT.replace("x", "\xe4").encode("cp1252"), "x.csv", ("name",))
    assert found is not None
    assert (found.rows[0]["note"], len(found.notes)) == ("\xe4", 1)
    assert decode(b"\xc3\xa4", "x") == ("\xe4", ())


@pytest.mark.parametrize("data", [TEXT.encode("utf-16-le"), b"a\0b", b"\xff\xfea", b"\x81\x8d"])
def test_what_is_no_text_is_refused(data: bytes) -> None:
    with pytest.raises(ConfigError, match=r"x\.csv: not a text file in UTF-8, UTF-16 or Windows-1252"):
        read_table(data, "x.csv", ("name",))


def test_a_decimal_comma_is_one_where_the_comma_does_not_separate() -> None:
    for separator in ";\t":
        found = read_table(f"name{separator}start_time\na{separator}1,5\n".encode(), "x.csv", ("name", "start_time"))
        assert found is not None
        assert (found.decimal_comma, found.number(found.rows[0], "start_time")) == (True, 1.5)
    found = read_table(b'name,start_time\na,"1,5"\n', "x.csv", ("name", "start_time"))
    assert found is not None
    with pytest.raises(ConfigError, match=r"x\.csv, row 2, start_time: '1,5', expected one number"):
        found.number(found.rows[0], "start_time")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("12", 12.0),
        (" 1.5 ", 1.5),
        ("1,5", 1.5),
        ("1e-3", 0.001),
        ("-2", -2.0),
        ("0:01:02.5", 62.5),
        ("00:01:02,5", 62.5),
        ("1:02", 62.0),
        ("-0:01", -1.0),
        ("100:00:00", 360_000.0),
    ],
)
def test_numbers_and_clock_times_are_read(text: str, value: float) -> None:
    assert number(text, "x", decimal_comma=True) == value


@pytest.mark.parametrize(
    "text", ["", "a", "nan", "inf", "-inf", "1_000", "1.000,5", "1,000,5", "1:2:3:4", "1e999", "0x1"]
)
def test_anything_else_is_no_number(text: str) -> None:
    with pytest.raises(ConfigError, match=r"x: .*expected one number"):
        number(text, "x", decimal_comma=True)


def test_lines_are_counted_as_an_editor_does() -> None:
    found = read_table(b'name,note\n\na,"one\ntwo"\nb,x\n', "x.csv", ("name", "note"))
    assert found is not None
    assert [row.where for row in found.rows] == ["x.csv, row 3", "x.csv, row 5"]
    assert found.rows[0]["note"] == "one\ntwo"


def test_a_short_row_is_filled_and_a_long_one_refused() -> None:
    assert rows("name,start_time,note\na,1\n") == [("a", "1", "")]
    assert rows("name,start_time,note\na,1,x,,\n") == [("a", "1", "x")]
    with pytest.raises(ConfigError, match=r"x\.csv, row 2: 4 cells, expected at most the header's 3"):
        rows("name,start_time,note\na,1,x,more\n")


def test_a_row_above_the_header_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x\.csv, row 1: a row above the header"):
        rows("a,1,x\nname,start_time,note\nb,2,y\n")


def test_a_file_that_was_not_copied_whole_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x\.csv, row 3: 2 cells and no line end, expected the header's 3"):
        rows("name,start_time,note\na,1,x\nb,2")
    assert rows("name,start_time,note\na,1\nb,2") == [("a", "1", ""), ("b", "2", "")]  # leaves out empty cells


def test_quotation_marks_in_the_header_do_not_matter() -> None:
    assert rows('na"me,start_time,note\na,1,x\n') == [("a", "1", "x")]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("bad", ['a,1,"open\nb,2,y\nc,3,z', 'a,1,"open\nb,2,y\nc,3,z"', 'a,1,"open"more\nb,2,y'])
def test_a_quotation_mark_never_swallows_rows(separator: str, bad: str) -> None:
    with pytest.raises(ConfigError, match=r"x\.csv, row 2: .*quotation mark"):
        rows(("name,start_time,note\n" + bad + "\n").replace(",", separator))


def test_a_quotation_mark_inside_a_cell_is_a_character() -> None:
    assert rows("name,start_time,note\na,1,5\" wide\nb,2,'\n") == [("a", "1", '5" wide'), ("b", "2", "'")]


def test_a_gigantic_cell_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"x\.csv, row 2: field larger than field limit"):
        rows(f"name,start_time,note\na,1,{'x' * 200_000}\n")


def test_a_column_that_occurs_twice_is_refused_if_it_is_read() -> None:
    with pytest.raises(ConfigError, match=r"x\.csv, row 1: columns start_time occur more than once"):
        rows("name,start_time,Start Time\na,1,2\n")
    assert rows("name,start_time,other,other\na,1,2,3\n") == [("a", "1", "")]


def test_another_name_of_a_column_counts_where_its_own_is_missing() -> None:
    aliases = {"name": ("who", "id")}
    for header in ("id,who", "who,x", "who,name"):
        found = read_table(f"{header}\n1,2\n".encode(), "x.csv", ("name",), (), aliases)
        assert found is not None
        assert found.rows[0]["name"] == {"id,who": "2", "who,x": "1", "who,name": "2"}[header]


def test_a_file_without_the_header_is_none() -> None:
    assert read_table(b"a,b\n1,2\n", "x.csv", ("name",)) is None
    assert read_table(b"", "x.csv", ("name",)) is None


def test_only_the_files_own_separator_complains() -> None:
    assert complaint(read_grids(b'a,"b",c\n1,"2",3\n', "x.csv")) == ""
    assert complaint(read_grids(b'a;b;c\n"d, e";"2";3\n', "x.csv")) == ""
    assert "row 1" in complaint(read_grids(b'"a;b;c\nd;e;f\n', "x.csv"))
    assert complaint(()) == ""
    assert "row 2" in complaint(read_grids(b'a;b\n"1;2\n', "x.csv"))


def _workbook(suffix: str = "xlsx") -> bytes:
    book = import_module("openpyxl").Workbook()
    book.active.title = "read me"
    book.active.append(["nothing here"])
    sheet = book.create_sheet("data")
    sheet.append([])
    sheet.append(["Name", "start time", "note"])
    sheet.append(["a", 1.5, datetime.time(0, 1, 2, 500_000)])
    sheet.append([None, None, None])
    sheet.append(["b", 2, True])
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def test_the_sheet_with_the_header_is_read() -> None:
    found = read_table(_workbook(), "x.XLSX", ("name", "start_time"), ("note",))
    assert found is not None
    assert [(row["name"], row["start_time"]) for row in found.rows] == [("a", "1.5"), ("b", "2")]
    assert [row.where for row in found.rows] == ["x.XLSX, row 3", "x.XLSX, row 5"]
    assert found.number(found.rows[0], "note") == 62.5
    assert found.notes == ("sheet 'data'",)


MANIFEST = '<manifest:manifest xmlns:manifest="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"/>'
ODS = (
    '<office:document-content xmlns:office="urn:oasis:names:tc:opendocument:xmlns:office:1.0" '
    'xmlns:table="urn:oasis:names:tc:opendocument:xmlns:table:1.0" '
    'xmlns:text="urn:oasis:names:tc:opendocument:xmlns:text:1.0"><office:body><office:spreadsheet>'
    '<table:table table:name="s">{}</table:table></office:spreadsheet></office:body></office:document-content>'
)


def test_an_opendocument_sheet_is_read() -> None:
    cell = '<table:table-cell office:value-type="string"><text:p>{}</text:p></table:table-cell>'
    value = '<table:table-cell office:value-type="float" office:value="{0}"><text:p>{0}</text:p></table:table-cell>'
    lines = [[cell.format(name) for name in LINES[0].split(",")]]
    lines += [[cell.format("a"), value.format("1.5"), cell.format("x")]]
    lines += [[cell.format("b"), value.format("2"), cell.format("y")]]
    body = "".join(f"<table:table-row>{''.join(line)}</table:table-row>" for line in lines)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("mimetype", "application/vnd.oasis.opendocument.spreadsheet")
        archive.writestr("META-INF/manifest.xml", MANIFEST)
        archive.writestr("content.xml", ODS.format(body))
    assert rows(buffer.getvalue(), "x.ods") == WANTED


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04fake", TEXT.encode(), _workbook()[:500]])
@pytest.mark.parametrize("ending", ["xlsx", "ods", "xls", "xlsb"])
def test_what_is_no_spreadsheet_is_refused(data: bytes, ending: str) -> None:
    with pytest.raises(ConfigError, match=rf"x\.{ending}: no spreadsheet that can be read"):
        read_table(data, f"x.{ending}", ("name",))
