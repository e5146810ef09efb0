"""Layout, sizes, documentation and types of the library."""

import ast
import io
import math
import re
import tokenize
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.house.checkout import (
    Function,
    Measure,
    files,
    functions,
    parameters,
    place,
    public_functions,
    text,
    tree,
)

LIBRARY = "sheep"
MAX_COLUMNS = 120
MAX_FILE_LINES = 400
MAX_BODY_LINES = 60


def line_counts(root: Path) -> Measure:
    """Count lines of Python by top-level folder."""
    counts = [sum(_num_lines(path) for path in files(root, top)) for top in (LIBRARY, "tests", "benchmarks", "jobs")]
    return Measure("lines: library / tests / benchmarks / jobs", " / ".join(map(str, counts)))


def tests_per_line(root: Path) -> Measure:
    """Lines of tests for each line of the library."""
    library, tests = (sum(_num_lines(path) for path in files(root, top)) for top in (LIBRARY, "tests"))
    return Measure("test lines per library line", f"{tests / max(library, 1):.2f}", "no quota (movement: 1.30)")


def flat_modules(root: Path) -> Measure:
    """Count modules directly below the library, `__init__` and `__main__` aside."""
    found = [
        path for path in files(root, LIBRARY) if path.parent == root / LIBRARY and path.stem.strip("_") == path.stem
    ]
    names = tuple(str(path.relative_to(root)) for path in found)
    return Measure("modules directly below sheep/", str(len(found)), "<= 4 (suggested)", len(found) <= 4, names)


def packages(root: Path) -> Measure:
    """Count packages directly below the library, and at any depth."""
    inner = {path.parent.relative_to(root / LIBRARY) for path in files(root, LIBRARY)} - {Path()}
    top = sorted({folder.parts[0] for folder in inner})
    return Measure("packages below sheep/: direct / all", f"{len(top)} / {len(inner)}", places=tuple(top))


def import_layers(root: Path) -> Measure:
    """Count the layers of the import contract whose container is the library."""
    settings = tomllib.loads(text(root / "pyproject.toml"))["tool"]["importlinter"]
    layers: list[str] = next(
        (one["layers"] for one in settings["contracts"] if LIBRARY in one.get("containers", ())), []
    )
    return Measure("import layers", str(len(layers)), "about 7", 0 < len(layers) <= 8, tuple(layers))


def function_sizes(root: Path) -> Measure:
    """Lines of a function's body without its docstring, over the library."""
    sizes = sorted(
        (
            (_body_lines(node), place(root, path, node.lineno))
            for path in files(root, LIBRARY)
            for node in functions(tree(path))
        ),
        reverse=True,
    )
    lines = [size for size, _ in sizes]
    shown = [str(_percentile(lines, share)) for share in (0.5, 0.9, 0.99, 1.0)]
    worst = tuple(f"{where} {size} lines" for size, where in sizes[:10])
    met = not lines or lines[0] <= MAX_BODY_LINES
    return Measure(
        "function body lines: median / p90 / p99 / max", " / ".join(shown), f"max <= {MAX_BODY_LINES}", met, worst
    )


def file_sizes(root: Path) -> Measure:
    """Lines of the longest Python file of the checkout."""
    sizes = sorted(((_num_lines(path), str(path.relative_to(root))) for path in files(root)), reverse=True)
    longest = sizes[0][0] if sizes else 0
    worst = tuple(f"{name} {size} lines" for size, name in sizes[:10])
    return Measure("longest Python file", str(longest), f"<= {MAX_FILE_LINES}", longest <= MAX_FILE_LINES, worst)


def docstring_coverage(root: Path) -> Measure:
    """Share of the library's public functions and methods that have a docstring."""
    found = {place(root, path, node.lineno): ast.get_docstring(node) for path, node in _public(root)}
    missing = tuple(where for where, docstring in found.items() if not docstring)
    return _coverage("public functions with a docstring", len(found), missing, 1.0)


def args_coverage(root: Path) -> Measure:
    """Share of public functions and methods with two or more parameters whose docstring has an `Args:` section."""
    several = [(path, node) for path, node in _public(root) if len(parameters(node)) >= 2]
    missing = tuple(
        f"{place(root, path, node.lineno)} {node.name}"
        for path, node in several
        if not re.search(r"^\s*Args:$", ast.get_docstring(node) or "", re.MULTILINE)
    )
    return _coverage("public functions of >= 2 parameters with Args:", len(several), missing, 0.9)


def comment_density(root: Path) -> Measure:
    """Comments for each 100 lines of the library; pragmas such as `noqa` are not comments."""
    comments = sum(1 for path in files(root, LIBRARY) for _ in comment_tokens(path))
    lines = sum(_num_lines(path) for path in files(root, LIBRARY))
    return Measure(
        "comments per 100 library lines", f"{100 * comments / max(lines, 1):.1f}", "no quota (others: 4 to 8)"
    )


def comment_tokens(path: Path) -> Iterator[tuple[int, str]]:
    """Yield line and text of each comment of a Python file, pragmas left out."""
    for token in tokenize.generate_tokens(io.StringIO(text(path)).readline):
        if token.type == tokenize.COMMENT and not re.match(r"#\s*(noqa|type:|fmt:|pragma|!)", token.string):
            yield token.start[0], token.string.lstrip("# ")


def long_lines(root: Path) -> Measure:
    """Count lines of more than 120 characters by kind of file."""
    found = {
        suffix: [
            place(root, path, number)
            for path in files(root, suffix=suffix)
            for number, line in enumerate(text(path).splitlines(), 1)
            if len(line) > MAX_COLUMNS
        ]
        for suffix in (".py", ".md", ".toml")
    }
    counts = " / ".join(str(len(places)) for places in found.values())
    every = tuple(where for places in found.values() for where in places)
    return Measure(f"lines > {MAX_COLUMNS} characters: py / md / toml", counts, "0", not every, every)


def untyped_mappings(root: Path) -> Measure:
    """Count `[str, Any]` in the library."""
    return _occurrences(root, "[str, Any]", "[str, Any]", 20)


def name_parsing(root: Path) -> Measure:
    """Count `.rsplit(` in the library: names that are parsed back."""
    return _occurrences(root, ".rsplit( calls", ".rsplit(", 0)


def string_keys(root: Path) -> Measure:
    """Count accesses by a constant string, `x["name"]`, in the library; columns of tables look alike and count too."""
    found = sorted(
        place(root, path, node.lineno) for path in files(root, LIBRARY) for node in _string_subscripts(tree(path))
    )
    return Measure("accesses by a constant string key", str(len(found)), "fewer than before", places=tuple(found))


def record_keys(root: Path) -> Measure:
    """Count accesses by a constant string on names annotated `Mapping[str, Any]` or `dict[str, Any]`."""
    found = [
        place(root, path, node.lineno)
        for path in files(root, LIBRARY)
        for function in functions(tree(path))
        for node in _string_subscripts(function)
        if ast.unparse(node.value) in _untyped_names(function)
    ]
    return Measure("of these, on names annotated [str, Any]", str(len(found)), "fewer than before", places=tuple(found))


def ambiguous_types(root: Path) -> Measure:
    """Count type names that mean several things: classes of several modules, or aliases of different types.

    Equal aliases of several modules, such as `Floats = NDArray[np.float64]`, mean one thing and do not count.
    """
    places: dict[str, list[str]] = defaultdict(list)
    meanings: dict[str, set[str]] = defaultdict(set)
    for path in files(root, LIBRARY):
        for node in tree(path).body:
            for name, alias_of in _types(node):
                where = place(root, path, node.lineno)
                places[name].append(where)
                meanings[name].add(alias_of or where)
    several = sorted(name for name in places if len(meanings[name]) > 1)
    shown = tuple(f"{name}: {', '.join(places[name])}" for name in several)
    return Measure("type names that mean several things", str(len(several)), "0", not several, shown)


METRICS = (
    line_counts,
    tests_per_line,
    flat_modules,
    packages,
    import_layers,
    function_sizes,
    file_sizes,
    docstring_coverage,
    args_coverage,
    comment_density,
    long_lines,
    untyped_mappings,
    string_keys,
    record_keys,
    name_parsing,
    ambiguous_types,
)


def _num_lines(path: Path) -> int:
    return len(text(path).splitlines())


def _body_lines(function: Function) -> int:
    body = function.body[1:] if ast.get_docstring(function) else function.body
    return (body[-1].end_lineno or 0) - body[0].lineno + 1 if body else 0


def _percentile(ordered: Sequence[int], share: float) -> int:
    """Nearest-rank percentile of values in falling order; 0 without values."""
    return ordered[len(ordered) - max(math.ceil(share * len(ordered)), 1)] if ordered else 0


def _public(root: Path) -> Iterator[tuple[Path, Function]]:
    for path in files(root, LIBRARY):
        for node in public_functions(tree(path)):
            yield path, node


def _coverage(name: str, total: int, missing: tuple[str, ...], target: float) -> Measure:
    share = 1 - len(missing) / max(total, 1)
    return Measure(name, f"{100 * share:.1f} % of {total}", f">= {100 * target:.0f} %", share >= target, missing)


def _occurrences(root: Path, name: str, part: str, bound: int) -> Measure:
    found = [
        place(root, path, number)
        for path in files(root, LIBRARY)
        for number, line in enumerate(text(path).splitlines(), 1)
        for _ in range(line.count(part))
    ]
    return Measure(name, str(len(found)), f"<= {bound}" if bound else "0", len(found) <= bound, tuple(found))


def _types(node: ast.stmt) -> Iterator[tuple[str, str]]:
    """Yield the name of each type that a top-level statement defines, and what it is an alias of (a class: nothing)."""
    match node:
        case ast.ClassDef(name=name):
            yield name, ""
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if re.fullmatch(r"_?[A-Z]\w*[a-z]\w*", name):
            yield name, ast.unparse(value)


def _string_subscripts(node: ast.AST) -> Iterator[ast.Subscript]:
    """Subscripts by one constant string; `Literal["x"]` is a type, not an access."""
    for child in ast.walk(node):
        match child:
            case ast.Subscript(value=owner, slice=ast.Constant(value=str())) if not ast.unparse(owner).endswith(
                "Literal"
            ):
                yield child


def _untyped_names(function: Function) -> set[str]:
    """Parameters and variables of a function that are annotated with `[str, Any]`."""
    spec = function.args
    annotated = {one.arg: one.annotation for one in (*spec.posonlyargs, *spec.args, *spec.kwonlyargs)}
    for node in ast.walk(function):
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            annotated[node.target.id] = node.annotation
    return {name for name, annotation in annotated.items() if annotation and "[str, Any]" in ast.unparse(annotation)}
