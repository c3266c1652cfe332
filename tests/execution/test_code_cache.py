"""What lies in the folder of compiled code is run: others cannot put anything there, and nothing planted is loaded."""

import json
import os
import stat
import subprocess
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from metafunc.execution import code_cache, tracing
from metafunc.execution.aot import build, compiler
from metafunc.execution.aot.serialise import describe
from metafunc.execution.code_cache import CacheError

NAME = "0123456789abcdef"


@pytest.fixture(autouse=True)
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv(code_cache.INDUCTOR, raising=False)
    monkeypatch.delenv(code_cache.NAMED, raising=False)
    code_cache._of_this_process.cache_clear()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        yield tmp_path / "cache/metafunc"


def kept(folder: Path, content: bytes = b"library") -> None:
    with code_cache.opened(folder) as handle:
        code_cache.keep(handle, NAME, content)


def found(folder: Path) -> bytes | None:
    with code_cache.opened(folder) as handle:
        return code_cache.read(handle, NAME)


def test_a_folder_of_the_user_s_own_is_made_and_keeps_what_was_built(own: Path) -> None:
    assert code_cache.folder() == own
    assert stat.S_IMODE(own.stat().st_mode) == 0o700
    assert found(own) is None
    kept(own)
    assert found(own) == b"library"
    assert {path.name for path in own.iterdir()} == {f"{NAME}.so", f"{NAME}.sum"}


def test_what_was_changed_planted_or_renamed_is_not_taken(own: Path, tmp_path: Path) -> None:
    code_cache.folder()
    kept(own)
    library = own / f"{NAME}.so"
    library.write_bytes(b"other")
    with pytest.warns(UserWarning, match="not what was built here"):
        assert found(own) is None
    (own / f"{NAME}.sum").unlink()
    with pytest.warns(UserWarning, match="not what was built here"):
        assert found(own) is None
    kept(own)  # in place of it
    library.rename(tmp_path / "elsewhere")
    library.symlink_to(tmp_path / "elsewhere")
    with pytest.warns(UserWarning, match="not what was built here"):
        assert found(own) is None
    library.unlink()
    os.mkfifo(library)  # which must not be waited for
    with pytest.warns(UserWarning, match="not what was built here"):
        assert found(own) is None
    kept(own)
    for suffix in (".so", ".sum"):  # another library of this user's
        (own / f"{NAME}{suffix}").rename(own / f"ff{suffix}")
    with pytest.warns(UserWarning, match="not what was built here"), code_cache.opened(own) as handle:
        assert code_cache.read(handle, "ff") is None


@pytest.mark.parametrize("mode", [0o777, 0o720, 0o702])
def test_a_folder_that_others_can_write_is_refused(own: Path, mode: int) -> None:
    code_cache.folder().chmod(mode)
    with pytest.raises(CacheError, match=r"others can write to .*metafunc"):
        code_cache.folder()


@pytest.mark.parametrize(("mode", "fits"), [(0o777, False), (0o1777, True), (0o755, True)])
def test_a_folder_that_others_can_replace_is_refused(own: Path, mode: int, fits: bool) -> None:
    code_cache.folder().parent.chmod(mode)
    if fits:
        assert code_cache.folder() == own
    else:
        with pytest.raises(CacheError, match="can be replaced"):
            code_cache.folder()


def test_a_group_of_several_users_can_replace_it_and_a_user_s_own_cannot(monkeypatch: pytest.MonkeyPatch) -> None:
    import grp
    import pwd

    name = pwd.getpwuid(os.getuid()).pw_name
    folder = os.stat_result((0o40775, 0, 0, 0, os.getuid(), 1234, 0, 0, 0, 0))
    for group, members, expected in (("staff", [], True), (name, [], False), (name, ["mallory"], True)):
        monkeypatch.setattr(grp, "getgrgid", lambda _, g=group, m=members: grp.struct_group((g, "x", 1234, m)))
        assert code_cache._replaceable(folder) == expected


def test_the_folder_of_another_user_is_refused(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code_cache.folder()
    fstat = os.fstat

    def foreign(handle: int) -> os.stat_result:
        return os.stat_result([*fstat(handle)[:4], os.getuid() + 1, *fstat(handle)[5:]])

    monkeypatch.setattr(os, "fstat", foreign)
    with pytest.raises(CacheError, match="belongs to another user"):
        code_cache.folder()


def test_a_link_is_refused(own: Path, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    own.parent.mkdir()
    own.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match="is a link"):
        code_cache.folder()


def test_a_folder_put_in_place_of_the_checked_one_is_not_looked_at(own: Path, tmp_path: Path) -> None:
    code_cache.folder()
    kept(own)
    with code_cache.opened(own) as handle:
        own.rename(tmp_path / "moved")
        own.mkdir()
        kept(own, b"planted")
        assert code_cache.read(handle, NAME) == b"library"
        code_cache.keep(handle, NAME, b"new")
    assert found(own) == b"planted"
    assert found(tmp_path / "moved") == b"new"


@pytest.mark.parametrize("why", ["a file in its place", "no home"])
def test_where_no_folder_can_be_made_there_is_one_of_this_process_and_it_is_said_once(
    own: Path, why: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "no home":
        monkeypatch.delenv("XDG_CACHE_HOME")
        monkeypatch.setattr(Path, "home", lambda: (_ for _ in ()).throw(RuntimeError("no home directory")))
    else:
        own.parent.write_text("a file")
    with pytest.warns(UserWarning, match="until this process ends") as warned:
        first, second = code_cache.folder(), code_cache.folder()
    assert first == second
    assert len(warned) == 1
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    kept(first)
    assert found(first) == b"library"


def test_a_relative_name_of_the_cache_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert code_cache.folder() == tmp_path / ".cache/metafunc"


def test_a_variable_names_the_folder_or_has_nothing_kept(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(code_cache.NAMED, str(tmp_path / "named"))
    assert code_cache.folder() == tmp_path / "named"
    monkeypatch.setenv(code_cache.NAMED, "here")
    with pytest.raises(CacheError, match="METAFUNC_CODE_CACHE must be a full path, or off, not here"):
        code_cache.folder()
    monkeypatch.setenv(code_cache.NAMED, "off")
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # it is what was asked for
        private = code_cache.folder()
    assert private not in (own, tmp_path / "named")
    assert stat.S_IMODE(private.stat().st_mode) == 0o700
    assert not own.exists()


def test_libraries_that_were_used_least_recently_are_deleted(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with code_cache.opened(code_cache.folder()) as handle:
        for age, name in enumerate("abc"):
            code_cache.keep(handle, name, bytes(10))
            os.utime(own / f"{name}.so", (1e9 - age, 1e9 - age))
        assert code_cache.read(handle, "c") is not None  # the last of them is used now
    monkeypatch.setattr(code_cache, "LARGEST", 29)
    (own / ".building-old").mkdir()
    (own / "old.lock").touch()
    for remnant in (".building-old", "old.lock"):
        os.utime(own / remnant, (1e9, 1e9))
    (own / ".building-new").mkdir()
    code_cache.prune(own)
    assert {path.name for path in own.iterdir()} == {"a.so", "a.sum", "c.so", "c.sum", ".building-new"}


def test_times_of_builds_are_known_by_name_or_by_their_median(own: Path) -> None:
    with code_cache.opened(code_cache.folder()) as handle:
        assert code_cache.build_seconds(own, "a") is None
        for name, seconds in (("a", 10.0), ("b", 20.0), ("c", 40.0), ("a", 12.0)):
            code_cache.keep_seconds(handle, own, name, seconds)
        assert [code_cache.build_seconds(own, name) for name in ("a", "c", "other")] == [12.0, 40.0, 20.0]
        for damaged in ("", "[1]", '{"a": "x", "b": -1, "c": [2]}', "{"):
            (own / code_cache.SECONDS).write_text(damaged)
            assert code_cache.build_seconds(own, "a") is None
        for i in range(2 * code_cache.TIMED):
            code_cache.keep_seconds(handle, own, str(i), 1.0)
    assert len(json.loads((own / code_cache.SECONDS).read_text())) == code_cache.TIMED


def test_folders_that_the_user_names_are_taken_and_checked_alike(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert code_cache.for_torch() == {code_cache.INDUCTOR: str(own / "inductor")}
    for name in (code_cache.INDUCTOR, code_cache.TRITON):
        monkeypatch.setenv(name, str(tmp_path / name))
        assert code_cache.for_torch()[name] == str(tmp_path / name)
        (tmp_path / name).chmod(0o777)
        with pytest.raises(CacheError, match="others can write"):
            tracing.by_inductor(tracing.trace(torch.sin, torch.ones(1)), [torch.ones(1)])
        (tmp_path / name).chmod(0o700)


def test_a_planted_library_is_not_run_but_built_again(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A shared object runs what it likes as soon as it is loaded, before anybody asks it for a number."""
    x = torch.ones(1)
    described = describe(tracing.trace(torch.sin, x), [x])[0]
    source, planted = tmp_path / "planted.c", code_cache.folder() / f"{build.name_of(described)}.so"
    source.write_text(
        "#include <stdio.h>\n__attribute__((constructor)) static void run(void) "
        f'{{ fclose(fopen("{tmp_path}/ran", "w")); }}\n'
    )
    subprocess.run(["gcc", "-shared", "-fPIC", "-o", str(planted), str(source)], check=True)
    with pytest.warns(UserWarning, match="built again"):
        begun = build.Build(described, niceness=0)
    try:
        assert begun.process is not None
        assert not (tmp_path / "ran").exists()
        # The wrong twin: as if this user's build had made it.
        with code_cache.opened(own) as handle:
            code_cache.keep(handle, build.name_of(described), planted.read_bytes())
        with pytest.raises(build.BuildError):
            build.Build(described, niceness=0, builds=False).load()
        assert (tmp_path / "ran").exists()
    finally:
        begun.close()


def test_code_that_cannot_be_kept_is_a_warning_of_the_compiler(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code_cache.folder()
    monkeypatch.setattr(build.subprocess, "Popen", lambda *_, **__: (_ for _ in ()).throw(OSError(11, "no process")))
    warned: list[str] = []
    with compiler.Compiler(at_once=True, warn=warned.append) as made:
        assert made.lower(lambda x: 2 * x)(torch.ones(1)).tolist() == [2.0]
    assert "no process" in warned[0]
    assert list(own.iterdir()) == []


def test_what_another_process_prunes_while_it_is_read_is_taken(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with code_cache.opened(code_cache.folder()) as handle:
        code_cache.keep(handle, "step", b"library")
        found = code_cache._sum

        def pruned(name: str, content: bytes) -> bytes:
            (own / "step.so").unlink()
            return found(name, content)

        monkeypatch.setattr(code_cache, "_sum", pruned)
        assert code_cache.read(handle, "step") == b"library"
