"""A few hundred mutated inputs of each format; `fuzzing.py` makes any number of them."""

import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("memory is bounded as on Linux", allow_module_level=True)

from fuzzing import TARGETS, failure_of, fuzz, limits

CORPUS = Path(__file__).parent / "corpus"


@pytest.mark.parametrize("target", TARGETS)
def test_mutated_inputs_end_in_a_result_or_one_line(target):
    failures = list(map(str, fuzz([target], range(10))))
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize(
    ("target", "seed"),
    [("mid", 5_000_401), ("csv", 5_002_035), ("json", 5_000_996), ("long", 5_010_468)],
)
def test_inputs_that_once_failed_end_in_a_result_or_one_line(target, seed):
    failures = list(map(str, fuzz([target], range(seed, seed + 1))))
    assert not failures, "\n".join(failures)


@pytest.mark.parametrize("name", sorted(each.name for each in CORPUS.iterdir()))
def test_inputs_that_reach_rare_code_end_in_a_result_or_one_line(name, tmp_path):
    """Inputs that `guided.py` found; some once failed."""
    target, failures = TARGETS[name], []
    path = tmp_path / target.file
    for each in sorted((CORPUS / name).iterdir()):
        path.write_bytes(each.read_bytes())
        with limits():
            failures.append(failure_of(name, target.read, path, 0))
    assert len(failures) > 5
    assert not any(failures), failures


@pytest.mark.slow
@pytest.mark.parametrize("target", TARGETS)
def test_many_mutated_inputs_end_in_a_result_or_one_line(target):
    failures = list(map(str, fuzz([target], range(10, 510))))
    assert not failures, "\n".join(failures)
