from __future__ import annotations

import argparse
from dataclasses import dataclass

import pytest

from backend.errors import InputError
from backend.methods.interface import param
from training.options import add_options, options_from


@dataclass(frozen=True)
class Options:
    learning_rate: float = param(0.5, "How 100% fast", minimum=0.0, maximum=1.0)
    points: int = param(10, "Points.", minimum=1)
    losses: str = param("paper", "Which.", choices=("paper", "released"))
    poses: bool = param(True, "Known poses.")


def parse(*words: str, **defaults) -> Options:
    parser = argparse.ArgumentParser(exit_on_error=False, allow_abbrev=False)
    add_options(parser, Options, **defaults)
    return options_from(parser.parse_args(words), Options, **defaults)


def test_what_is_not_named_is_the_default() -> None:
    assert parse() == Options()
    assert parse(points=7) == Options(points=7)
    assert parse("--points", "3", points=7) == Options(points=3)


def test_every_kind_of_option() -> None:
    words = ["--learning-rate", "1e-1", "--points", "4", "--losses", "released", "--no-poses"]
    assert parse(*words) == Options(0.1, 4, "released", False)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--points", "0"], "--points: points must be 1 or more, got 0"),
        (["--points", "many"], "--points: points must be of type int, got 'many'"),
        (["--learning-rate", "2"], "between 0.0 and 1.0"),
        (["--losses", "papper"], "one of paper, released, got 'papper'"),
    ],
)
def test_a_wrong_value_is_one_sentence(words: list[str], said: str) -> None:
    with pytest.raises(InputError, match=said):
        parse(*words)


def test_a_typo_is_an_error() -> None:
    with pytest.raises((SystemExit, argparse.ArgumentError)):
        parse("--point", "3")


def test_help_tells_ranges_choices_and_defaults() -> None:
    parser = argparse.ArgumentParser()
    add_options(parser, Options, points=7)
    text = " ".join(parser.format_help().split())
    assert "How 100% fast (0.0 to 1.0; default: 0.5)" in text
    assert "--points N Points (1 or more; default: 7)" in text
    assert "--losses {paper,released} Which (default: paper)" in text
    assert "--poses, --no-poses Known poses (default: yes)" in text
