"""Messages to the user: on stderr by default, and wherever the user's logging sends them."""

import os
import subprocess
import sys

import pytest

from gradmidi.base.messages import Warnings

BOTH = "gradmidi: a line\ngradmidi: a warning\n"

CASES: dict[str, tuple[str, dict[str, str], str]] = {
    "nothing configured": ("", {}, BOTH),
    "quiet": ("", {"GRADMIDI_QUIET": "1"}, ""),
    "quiet is off": ("", {"GRADMIDI_QUIET": "0"}, BOTH),
    "a root handler for all": (
        "logging.basicConfig(level=logging.INFO)",
        {},
        "INFO:gradmidi:a line\nWARNING:gradmidi:a warning\n",
    ),
    "a root handler for all, and quiet": (
        "logging.basicConfig(level=logging.INFO)",
        {"GRADMIDI_QUIET": "1"},
        "INFO:gradmidi:a line\nWARNING:gradmidi:a warning\n",
    ),
    "a root handler for warnings": (
        "logging.basicConfig()",
        {},
        "gradmidi: a line\nWARNING:gradmidi:a warning\n",
    ),
    "a root handler for warnings, and quiet": (
        "logging.basicConfig()",
        {"GRADMIDI_QUIET": "1"},
        "WARNING:gradmidi:a warning\n",
    ),
    "only warnings": (
        "logging.basicConfig(); logging.getLogger('gradmidi').setLevel(logging.WARNING)",
        {},
        "WARNING:gradmidi:a warning\n",
    ),
    "a level and no handler": (
        "logging.getLogger('gradmidi').setLevel(logging.ERROR)",
        {},
        "",
    ),
    "a handler that drops all": (
        "logging.getLogger('gradmidi').addHandler(logging.NullHandler())",
        {},
        "",
    ),
    "the logger is disabled": ("logging.getLogger('gradmidi').disabled = True", {}, ""),
    "logging is disabled": ("logging.disable(logging.CRITICAL)", {}, ""),
    "a handler of one's own": (
        "logger = logging.getLogger('gradmidi'); logger.setLevel(logging.INFO)\n"
        "handler = logging.StreamHandler(); logger.addHandler(handler)\n"
        "handler.setFormatter(logging.Formatter('[%(levelname)s] %(message)s'))",
        {},
        "[INFO] a line\n[WARNING] a warning\n",
    ),
    "stderr is closed": ("sys.stderr.close()", {}, ""),
}
"""A configuration, the environment, and what stderr then has."""


@pytest.mark.parametrize("case", CASES)
def test_where_messages_go(case: str) -> None:
    configuration, environment, expected = CASES[case]
    script = (
        f"import logging, sys\n{configuration}\n"
        "from gradmidi.base.messages import say, warn\n"
        "say('a line')\nwarn('a warning')\nprint('done')\n"
    )
    clean = {name: value for name, value in os.environ.items() if name != "GRADMIDI_QUIET"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**clean, **environment},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout, done.stderr) == ("done\n", expected)


def test_errors_are_warned_of_once_a_kind_and_counted(said: list[str]) -> None:
    warnings = Warnings()
    for _ in range(3):
        warnings.note("run log", OSError("the disk is full"), "gradmidi will try again")
    warnings.note("live output", "ten seconds late", "frames are left out")
    assert said == [
        "run log: OSError: the disk is full; gradmidi will try again",
        "live output: ten seconds late; frames are left out",
    ]
    assert warnings.counts == {"run log": 3, "live output": 1}
