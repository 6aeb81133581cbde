"""Reads pip-audit's JSON: says what is known of the installed packages, and fails where a fix can be installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path


def can_be_installed(name: str, version: str) -> bool:
    """Whether the package registry at hand has this release for this Python."""
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--quiet", "--no-deps", f"{name}=={version}"]
    return subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL).returncode == 0


def main(report: str) -> int:
    """0 where there is nothing to be done."""
    try:
        found = json.loads(Path(report).read_text())["dependencies"]
    except (OSError, ValueError, KeyError):
        print("There is no report of vulnerabilities to read.")
        return 0
    status = 0
    for package in found:
        for advisory in package.get("vulns", ()):
            fixes = [version for version in advisory["fix_versions"] if can_be_installed(package["name"], version)]
            where = ", ".join(fixes) or "no release that can be had"
            print(f"{package['name']} {package['version']}: {advisory['id']}, fixed in {where}")
            status |= bool(fixes)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
