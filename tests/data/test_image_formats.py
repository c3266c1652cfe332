"""Image files are read by what they are, not by their name; others are refused, and named, before they do anything."""

import io
import os
import struct
import zlib
from pathlib import Path

import datasets
import numpy as np
import pytest
from PIL import Image

from metafunc.data import few_shot, files
from metafunc.data.pixels import FORMATS
from metafunc.data.reader import materialise


def encoded(kind: str = "PNG", size: int = 6) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.arange(size * size, dtype=np.uint8).reshape(size, size)).save(buffer, format=kind)
    return buffer.getvalue()


def bomb(side: int) -> bytes:
    """A small PNG that claims to be huge."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", side, side, 8, 0, 0, 0, 0)
    data = chunk(b"IDAT", zlib.compress(b"\0"))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + data + chunk(b"IEND", b"")


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 6 6\n%%EndComments\nshowpage\n%%EOF\n"
SVG = b"<svg xmlns='http://www.w3.org/2000/svg' width='6' height='6'/>"
HOSTILE = {
    "none of PNG, JPEG": EPS,
    "is none of": SVG,
    "empty": b"",
    "more than 89,478,485 pixels": bomb(10_000),
    "which a small file can claim": bomb(60_000),
    "truncated|broken|cannot be read": encoded()[:60],
    "cannot be read": encoded("JPEG", 64)[:400],
}


def folder_of(path: Path, third: bytes) -> Path:
    for label in "ab":
        (path / label).mkdir(parents=True)
        for number in range(4):
            (path / label / f"{number}.png").write_bytes(encoded())
    (path / "b" / "3.png").write_bytes(third)
    return path


@pytest.mark.parametrize("what", [*HOSTILE])
@pytest.mark.parametrize("where", ["folder", "parquet", "predict"])
def test_what_is_no_image_is_refused_by_its_name(
    tmp_path: Path, what: str, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "gs").write_text(f"#!/bin/sh\ntouch {tmp_path}/ran\n")
    (programs / "gs").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr("PIL.EpsImagePlugin.gs_binary", None)  # looked for again
    message = "none of" if what == "empty" else what
    if where == "parquet":
        images = [{"bytes": encoded(), "path": None}] * 7 + [{"bytes": HOSTILE[what], "path": "b/3.png"}]
        features = datasets.Features(image=datasets.Image(), label=datasets.Value("string"))
        rows = datasets.Dataset.from_dict({"image": images, "label": [*"aaaabbbb"]}, features=features)
        rows.to_parquet(tmp_path / "data.parquet")
        with pytest.raises(ValueError, match=rf"Image 7 \(b/3.png\).*({message})"):
            few_shot(str(tmp_path / "data.parquet"))
    elif where == "folder":
        with pytest.raises(ValueError, match=rf"Image 7 \(.*b/3.png\).*({message})"):
            few_shot(str(folder_of(tmp_path / "data", HOSTILE[what])))
    else:
        with pytest.raises(ValueError, match=rf"b/3.png.*({message})"):
            files.read_examples(folder_of(tmp_path / "data", HOSTILE[what]), (1, 6, 6), "image", "label")
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("kind", FORMATS)
def test_the_usual_formats_are_read(tmp_path: Path, kind: str) -> None:
    folder = folder_of(tmp_path, encoded(kind))
    assert files.read_examples(folder, (1, 6, 6), "image", "label").values.shape == (8, 1, 6, 6)


def test_what_would_be_waited_for_is_passed_over(tmp_path: Path) -> None:
    folder = folder_of(tmp_path, encoded())
    os.mkfifo(folder / "b" / "4.png")
    (folder / "b" / "5.png").symlink_to("/dev/zero")
    assert files.read_examples(folder, (1, 6, 6), "image", "label").values.shape == (8, 1, 6, 6)
    with pytest.raises(ValueError, match=r"num_ways|classes"):  # it was read, and has too few classes
        few_shot(str(folder), fractions=(0.6, 0.2, 0.2))


def test_a_table_s_path_that_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo.png")
    rows = datasets.Dataset.from_dict({"image": [{"path": str(tmp_path / "fifo.png"), "bytes": None}]})
    rows = rows.cast(datasets.Features(image=datasets.Image(decode=False)))
    with pytest.raises(ValueError, match=r"Image 0 .*fifo[.]png.* is no file"):
        materialise([rows], "image")
