"""Put learn2learn's Python files beside the other packages: `python unpack_learn2learn.py SDIST`.

Its build fails on Python 3.11, at data loaders in C that MAML does not need; and importing the whole of it wants gym
and torchvision. Its MAML is used as it is.
"""

import sys
import sysconfig
import tarfile
from pathlib import Path

PARTS = ("algorithms", "nn", "optim", "utils")


def main(archive: str) -> None:
    """Unpack the parts that MAML imports."""
    with tarfile.open(archive) as source:
        for member in source.getmembers():
            _, *inside = Path(member.name).parts
            if len(inside) > 2 and inside[0] == "learn2learn" and inside[1] in PARTS:
                member.name = str(Path(*inside))
                source.extract(member, sysconfig.get_path("purelib"), filter="data")


if __name__ == "__main__":
    main(sys.argv[1])
