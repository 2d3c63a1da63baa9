"""Which notes sound, after any starts and ends."""

from hypothesis import given
from hypothesis import strategies as st

from gradmidi.music.events import Sounding

KEYS = st.tuples(st.integers(0, 1), st.integers(60, 61))


@given(st.lists(st.tuples(st.booleans(), KEYS)))
def test_an_end_is_that_of_the_oldest_note_of_its_key(moves):
    sounding: Sounding[tuple[int, int], int] = Sounding()
    expected: list[tuple[tuple[int, int], int]] = []
    for number, (starts, key) in enumerate(moves):
        if starts:
            expected.append((key, number))
            assert sounding.start(key, number) == sum(held == key for held, _ in expected)
        else:
            oldest = next((note for held, note in expected if held == key), None)
            assert sounding.end(key) == oldest
            if oldest is not None:
                expected.remove((key, oldest))
        assert len(sounding) == len(expected)
        assert sorted(sounding) == sorted(note for _, note in expected)
        assert set(sounding.keys) == {key for key, _ in expected}
        for key in {key for _, key in moves}:
            assert (key in sounding) == any(held == key for held, _ in expected)
            assert list(sounding.of(key)) == [note for held, note in expected if held == key]
    assert sorted(sounding.end_all()) == sorted(note for _, note in expected)
    assert not len(sounding)
    assert sounding.keys == ()


def test_an_end_without_a_start_is_none_and_changes_nothing():
    sounding: Sounding[tuple[int, int], str] = Sounding()
    sounding.start((0, 60), "a")
    assert sounding.end((0, 61)) is None
    assert list(sounding) == ["a"]
