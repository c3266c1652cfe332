"""What has changed in the public signatures since a release: `python tests/house/public_api.py v1.2.0`.

Public is what the face `metafunc` hands on: its names, and those that its packages hand on in turn. A name or an
argument that is gone, an argument that is new without a default, and a default that is another break the callers' code.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

import griffe

PACKAGE = "metafunc"
COLOURS = re.compile(r"\x1b\[[\d;]*m")


def load(folder: Path) -> griffe.Module:
    """The package in a folder, without importing it."""
    found = griffe.load(
        PACKAGE, search_paths=[folder], try_relative_path=False, resolve_aliases=True, resolve_external=False
    )
    assert isinstance(found, griffe.Module)
    return found


def public(package: griffe.Module) -> dict[str, str]:
    """The public names, each with the path of what it names."""
    found: dict[str, str] = {}
    for name in _handed_on(package):
        member = package.members[name]
        found[f"{PACKAGE}.{name}"] = member.canonical_path
        target = member.final_target if isinstance(member, griffe.Alias) else member
        if isinstance(target, griffe.Module):
            inside = _handed_on(target) if target.is_init_module else _own(target)
            found |= {f"{PACKAGE}.{name}.{inner}": target.members[inner].canonical_path for inner in inside}
    return found


def _handed_on(module: griffe.Module) -> list[str]:
    """The names that a package takes from elsewhere in the house."""
    return [
        name
        for name, path in module.imports.items()
        if path.startswith(f"{PACKAGE}.") and not name.startswith("_") and name in module.members
    ]


def _own(module: griffe.Module) -> list[str]:
    """The public functions and classes of a module."""
    return [
        name
        for name, member in module.members.items()
        if not (member.is_alias or name.startswith("_")) and (member.is_function or member.is_class)
    ]


def broken(old: griffe.Module, new: griffe.Module) -> list[str]:
    """What of the old public names, and of their signatures, the new package does not keep."""
    before, after = public(old), public(new)
    kept = {path: name for name, path in before.items() if name in after}
    found = [f"{name}: it is gone" for name in before if name not in after]
    for breakage in griffe.find_breaking_changes(old, new):
        # Of a class, its methods and fields; a module's other names are not handed on.
        path = breakage.obj.path if breakage.obj.path in kept else breakage.obj.path.rpartition(".")[0]
        holder = old.modules_collection.get_member(path)
        if path in kept and not holder.is_module:
            said = COLOURS.sub("", breakage.explain(griffe.ExplanationStyle.ONE_LINE)).partition(": ")[2]
            found.append(f"{kept[path]}: {said}")
    return sorted({*found})


def at(release: str, folder: Path) -> griffe.Module:
    """The package as it was in a release."""
    archive = folder / "archive.tar"
    subprocess.run(["git", "archive", "--output", str(archive), release, PACKAGE], check=True)
    subprocess.run(["tar", "--extract", "--file", str(archive), "--directory", str(folder)], check=True)
    return load(folder)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as temporary:
        found = broken(at(sys.argv[1], Path(temporary)), load(Path.cwd()))
    print("\n".join(found) or f"Every public signature of {sys.argv[1]} is kept.")
    sys.exit(bool(found))
