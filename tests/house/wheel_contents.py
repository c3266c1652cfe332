"""Fail unless a wheel holds the two packages, typed and licensed, and no other top-level name."""

import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
if tops != {"metafunc", "metafunc_cli"}:
    sys.exit(f"The wheel's top-level names are {sorted(tops)}; they should be metafunc and metafunc_cli.")
missing = [
    part for part in ("metafunc/py.typed", "licenses/LICENSE", "entry_points.txt") if not any(part in n for n in names)
]
if missing:
    sys.exit(f"The wheel lacks {', '.join(missing)}.")
print(f"{len(names)} files, top level {sorted(tops)}")
