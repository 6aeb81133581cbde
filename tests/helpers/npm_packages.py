"""Packages of npm. A test that needs one skips where npm or the registry is missing."""

import shutil
import subprocess
from pathlib import Path

import pytest
from app_process import PATIENCE_SECONDS


def npm_installed(package: str, folder: Path) -> Path:
    """Install a package into a folder. Returns its node_modules."""
    if shutil.which("npm") is None or shutil.which("node") is None:
        pytest.skip("node and npm are not installed (Debian: apt install npm)")
    command = ["npm", "install", "--no-audit", "--no-fund", "--silent", package]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    if run.returncode:
        pytest.skip(f"npm cannot install {package} here: {run.stderr[-200:]}")
    return folder / "node_modules"
