"""What pyproject.toml cannot say: extras from requirements files that build on each other, and shipped files in the wheel."""

from pathlib import Path

from setuptools import find_packages, setup


def requirements(name: str) -> list[str]:
    """What a file names itself; the file that it builds on is the wheel's own requirements."""
    stripped = (line.partition("#")[0].strip() for line in Path(__file__).with_name(name).read_text().splitlines())
    return [line for line in stripped if line and not line.startswith("-r")]


shipped = {"core.shipped.assets": "assets", "core.shipped.experts": "experts"}  # where core/common/paths.py looks for them
setup(
    extras_require={
        "test": [*requirements("requirements-test.txt"), *requirements("requirements-scale.txt")],
        "scale": requirements("requirements-scale.txt"),
    },
    packages=[*find_packages(include=["core*", "app*"]), *shipped],
    package_dir=shipped,
    package_data={
        "app": ["languages/*.json", "languages/*.md", "page/*.css", "page/views/*.js", "page/views/templates/*.html"],
        "core": ["cli/help.txt", "common/*.json", "experts/*.md", "sglora/*.json", "training/*.json"],
        "core.experiments": ["*.json", "*.mplstyle"],
        "core.shipped.assets": [
            "*.json",
            "*.gz",
            "*/*.safetensors",
            "*/words.txt",
            "results/*",
            "opening/*/*",
            "opening/*/images/*",
        ],
        "core.shipped.experts": ["*/*"],
    },
)
