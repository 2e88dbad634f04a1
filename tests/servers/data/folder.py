"""A folder tree with everything that a copy loses easily."""

from __future__ import annotations

import os
import stat
from hashlib import sha256
from pathlib import Path


def fill_folder(path: Path) -> None:
    """Make ``path`` and fill it. A file and a folder beside it, ``<name>.outside...``, are what links lead out to."""
    path.mkdir(parents=True, exist_ok=True)
    outside = path.with_name(path.name + ".outside")
    outside.mkdir(exist_ok=True)
    _write(outside / "secret.txt", "not yours to copy\n", 0o600)

    _write(path / "app.conf", "port = 3000\n# 配置\n", 0o640)
    _write(path / "empty", "", 0o644)
    _write(path / "run.sh", "#!/bin/sh\nexit 0\n", 0o755)
    _write(path / "sealed", "no one may read this\n", 0o400)
    _write(path / "setuid", "#!/bin/sh\n", 0o4755)
    _write(path / "old", "from 2001\n", 0o644)
    os.utime(path / "old", ns=(1_000_000_000_123_456_789, 1_000_000_000_123_456_789))

    _write(path / "深圳" / "第一 幼儿园.yaml", "名称: 第一\n", 0o644)
    _write(path / "with\nnewline", "x\n", 0o644)
    _write(path / "-leading-dash", "x\n", 0o644)
    _write(path / "--checkpoint-action=exec=false", "x\n", 0o644)
    _write(path / "quotes ' \" ` $HOME * ? \\", "x\n", 0o644)
    _write(path / " space at both ends ", "x\n", 0o644)
    _write(path / "long" / ("n" * 200) / ("m" * 200), "a path longer than tar's old limits\n", 0o644)
    _write(Path(os.fsdecode(os.fsencode(path) + b"/not utf-8 \xff\xfe")), "x\n", 0o644)

    (path / "empty folder").mkdir()
    (path / "shared").mkdir()
    (path / "shared").chmod(0o3775)
    _write(path / "read only" / "inside", "x\n", 0o444)
    (path / "read only").chmod(0o555)

    (path / "link inside").symlink_to("app.conf")
    (path / "link to folder").symlink_to("深圳")
    (path / "link outside").symlink_to(outside / "secret.txt")
    (path / "link to folder outside").symlink_to(outside)
    (path / "link up and out").symlink_to(f"../{outside.name}/secret.txt")
    (path / "link to nowhere").symlink_to("no such file")
    (path / "link to itself").symlink_to("link to itself")
    os.link(path / "app.conf", path / "深圳" / "hard link to app.conf")
    os.mkfifo(path / "fifo", 0o620)
    with (path / "sparse").open("wb") as sparse:
        sparse.seek(8_000_000)
        sparse.write(b"end")
    if os.geteuid() == 0:
        os.chown(path / "old", 12_345, 54_321)
        os.lchown(path / "link inside", 12_345, 54_321)


def describe_folder(path: Path) -> dict[str, tuple[object, ...]]:
    """Kind, mode, owners and content (or target) of everything below ``path``, to compare with a copy."""
    found: dict[str, tuple[object, ...]] = {}
    first_of: dict[int, str] = {}
    for place in sorted(path.rglob("*")):
        name, status = str(place.relative_to(path)), place.lstat()
        common = (stat.filemode(status.st_mode), status.st_uid, status.st_gid)
        if place.is_symlink():
            found[name] = (*common, "->", str(place.readlink()))
        elif place.is_file():
            content = sha256(place.read_bytes()).hexdigest()
            same_file_as = first_of.setdefault(status.st_ino, name)
            found[name] = (*common, status.st_mtime_ns, status.st_size, content, same_file_as)
        else:
            found[name] = common
    return found


def _write(path: Path, text: str, mode: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
