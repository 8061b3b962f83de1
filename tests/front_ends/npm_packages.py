"""npm packages of exact versions, installed once into a cache folder outside the repository; no lock file."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from pathlib import Path

from tests.real_parts import missing, need

__all__ = ["npm_folder"]

_BESIDE = {
    "ai": ("zod@4.6.7",),
    "@ai-sdk/react": ("ai@7.0.173", "react@19.3.1", "react-dom@19.3.1", "esbuild@0.28.2", "zod@4.6.7"),
}
"""What a package wants beside it."""


def npm_folder(package: str, version: str) -> Path:
    """The folder in which this version is installed; without npm or a registry the test is skipped, or fails."""
    npm = need("npm")
    need("node")
    cache = Path(os.environ.get("PROMPTPORT_NPM_CACHE") or Path.home() / ".cache" / "promptport" / "npm")
    folder = cache / f"{package.strip('@').replace('/', '-')}-{version}"
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        fresh = Path(tempfile.mkdtemp(prefix="installing-", dir=cache))
        (fresh / "package.json").write_text('{"private": true}')
        command = [npm, "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"]
        wanted = [f"{package}@{version}", *_BESIDE.get(package, ())]
        done = subprocess.run([*command, *wanted], cwd=fresh, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode != 0:
            shutil.rmtree(fresh)
            missing(f"npm could not install {package}@{version}: {done.stderr[-300:]}")
        try:
            fresh.rename(folder)
        except OSError:  # another process was first
            shutil.rmtree(fresh)
    return folder
