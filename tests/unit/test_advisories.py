"""The CI step that checks packages for known vulnerabilities."""

import json
import runpy
from pathlib import Path

import pytest

from core.common.paths import ROOT

ADVISORIES = runpy.run_path(str(ROOT / ".ci" / "advisories.py"))


@pytest.mark.parametrize(("installable", "status"), [({"2.0"}, 1), (set(), 0)])
def test_a_vulnerability_fails_where_its_fix_can_be_installed(installable: set[str], status: int, tmp_path: Path) -> None:
    package = {"name": "a", "version": "1.0", "vulns": [{"id": "CVE-1", "fix_versions": ["1.0.1", "2.0"]}]}
    (tmp_path / "audit.json").write_text(json.dumps({"dependencies": [package, {"name": "b", "version": "1", "vulns": []}]}))
    main = ADVISORIES["main"]
    main.__globals__["can_be_installed"] = lambda name, version: version in installable
    assert main(str(tmp_path / "audit.json")) == status


def test_no_report_is_no_reason_to_fail(tmp_path: Path) -> None:
    (tmp_path / "audit.json").write_text("")
    assert ADVISORIES["main"](str(tmp_path / "audit.json")) == 0
