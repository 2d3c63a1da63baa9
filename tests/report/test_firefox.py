"""The page in Firefox: it plays, it fits, and axe-core finds nothing to complain of."""

import json
import math
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from logs import write_log

from gradmidi._render import render

pytestmark = [pytest.mark.receivers, pytest.mark.slow]

SCRIPT = Path(__file__).with_name("firefox.mjs")
LIGHT = {"layout.css.prefers-color-scheme.content-override": 1}
DARK = {"layout.css.prefers-color-scheme.content-override": 0}
FORCED = {"browser.display.document_color_use": 2}
LOOKS = [
    {"width": 360, "height": 800, "prefs": LIGHT},
    {"width": 1600, "height": 800, "prefs": DARK},
    {"width": 1200, "height": 800, "prefs": FORCED},
    {"width": 320, "height": 256, "prefs": {"layout.css.devPixelsPerPx": "4"}},
]


def test_plays_fits_and_passes_axe(tmp_path: Path, modules: Path) -> None:
    firefox = shutil.which("firefox-esr") or shutil.which("firefox")
    if firefox is None:
        pytest.skip("no firefox")
    values = np.random.default_rng(0).lognormal(sigma=0.2, size=(80, 4))
    values[40:, 2] = 1e4
    values[64:70, 0] = math.nan
    run = write_log(tmp_path / "run", values.tolist(), names=("conv1", "x" * 300, "fc1", "fc2"))
    (page,) = render(run, tmp_path / "run.html")
    given = {"page": page.as_uri(), "firefox": firefox, "modules": str(modules), "looks": LOOKS}
    done = subprocess.run(
        ["node", str(SCRIPT)],
        input=json.dumps(given),
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert [result["forced"] for result in results] == [False, False, True, False]
    assert [result["dark"] for result in results][:2] == [False, True]
    for look, result in zip(LOOKS, results, strict=True):
        assert result["said"] == "Solo fc1. Heard: fc1."
        assert result["played"] > 0.3
        assert result["warnings"] == []
        assert result["width"] <= look["width"]
        assert result["passes"] > 20
        wrong = [
            each
            for each in result["violations"]
            if not result["forced"] or "contrast" not in each[0]
        ]
        # Forced colours are those of the user's system, and so is their contrast.
        assert wrong == []
