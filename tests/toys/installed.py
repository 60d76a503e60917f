"""The toys as methods of another installed package."""

from __future__ import annotations

from pathlib import Path

TOYS = {
    "toy_untrained": "untrained:Untrained",
    "toy_generator": "generator:Generator",
    "toy_painter": "painter:Painter",
    "toy_segmenter": "segmenter:Segmenter",
    "toy_detector": "detector:Detector",
    "toy_tracker": "tracker:Tracker",
    "toy_mask_tracker": "tracker:MaskTracker",
    "toy_finder": "finder:Finder",
}


def lay_out(site: Path) -> Path:
    """Write what an installer does into ``site``, which has to be on the path; returns it."""
    info = site / "toys-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toys\nVersion: 1.0\n")
    lines = [f"{name} = {place}" for name, place in TOYS.items()]
    (info / "entry_points.txt").write_text("\n".join(["[accord.methods]", *lines, ""]))
    return site
