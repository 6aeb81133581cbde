"""Sidecars as digiKam, darktable and Lightroom write them, shortened."""

from pathlib import Path

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
EXPECTED = {"digiKam": ["Hund", "Müllers & Söhne"], "darktable": [], "Lightroom": ["Norway"]}  # words of dc:subject
SIDECARS = {name: Path(__file__).with_name("sidecars").joinpath(f"{name}.xmp").read_bytes() for name in EXPECTED}
SIDECARS["Lightroom"] = SIDECARS["Lightroom"].replace(b"\n", b"\r\n")
DIGIKAM, DARKTABLE, LIGHTROOM = SIDECARS.values()
