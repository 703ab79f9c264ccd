from pathlib import Path

from examples.stdlib_index.library import BODY_BYTES_MAX, find_library, standard_library_root


def test_installed_packages_and_other_files_are_not_part_of_the_library(tmp_path: Path) -> None:
    for name in ("b.py", "package/a.py", "site-packages/foreign.py", "dist-packages/foreign.py", "note.txt"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert find_library(tmp_path).names == ["b.py", "package/a.py"]


def test_a_file_larger_than_a_message_is_left_out_and_counted(tmp_path: Path) -> None:
    (tmp_path / "fits.py").write_bytes(b"#" * BODY_BYTES_MAX)
    (tmp_path / "too_large.py").write_bytes(b"#" * (BODY_BYTES_MAX + 1))
    library = find_library(tmp_path)
    assert (library.names, library.too_large) == (["fits.py"], 1)


def test_a_limit_takes_the_first_files(tmp_path: Path) -> None:
    for name in ("c.py", "a.py", "b.py"):
        (tmp_path / name).touch()
    assert find_library(tmp_path, limit=2).names == ["a.py", "b.py"]


def test_the_running_interpreter_has_a_library_worth_indexing() -> None:
    names = find_library(standard_library_root()).names
    assert {"ast.py", "asyncio/__init__.py"} <= set(names)
