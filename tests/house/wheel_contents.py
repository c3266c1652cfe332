"""Fail unless a wheel holds the two packages, typed and licensed, and no other top-level name."""

import sys
import zipfile

names = zipfile.ZipFile(sys.argv[1]).namelist()
tops = {name.split("/")[0] for name in names if ".dist-info/" not in name}
if tops != {"metafunc", "metafunc_cli"}:
    sys.exit(f"The wheel's top-level names are {sorted(tops)}; they should be metafunc and metafunc_cli.")
PAGE = "metafunc/results/page"
VENDORED = [
    f"{PAGE}/vendor/{name}.{kind}" for name in ("vega", "vega-lite", "vega-embed") for kind in ("min.js", "LICENSE")
]
SOURCES = ("report.html", "report.css", "report.js", "sort.js", "play.html", "play.css", "play.js")
PARTS = [f"{PAGE}/{name}" for name in SOURCES]
needed = ("metafunc/py.typed", "licenses/LICENSE", "entry_points.txt", f"{PAGE}/common.css", *PARTS, *VENDORED)
missing = [part for part in needed if not any(part in name for name in names)]
if missing:
    sys.exit(f"The wheel lacks {', '.join(missing)}.")
print(f"{len(names)} files, top level {sorted(tops)}")
