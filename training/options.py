"""Dataclasses of :func:`backend.methods.interface.param` as options of the command line."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from backend.methods.interface import checked_value


def add_options(parser: Any, kind: type, **defaults: Any) -> None:
    """Add one option for each field: ``learning_rate`` becomes ``--learning-rate``.

    Args:
        parser: An ``argparse`` parser or group of options.
        kind: The dataclass.
        defaults: Values that stand in for the dataclass's own.
    """
    for field in dataclasses.fields(kind):
        default = defaults.get(field.name, field.default)
        choices, is_switch = field.metadata["choices"], isinstance(field.default, bool)
        words: dict[str, Any] = {}
        if is_switch:
            words["action"] = argparse.BooleanOptionalAction
            default = "yes" if default else "no"
        else:
            words["metavar"] = "{" + ",".join(choices) + "}" if choices else _kind(field.default)
        text = f"{field.metadata['description'].rstrip('.')} ({_range(field)}default: {default})"
        parser.add_argument(_option(field.name), default=None, help=_escaped(text), **words)


def options_from(arguments: argparse.Namespace, kind: type, **defaults: Any) -> Any:
    """Build the dataclass from what :func:`add_options` parsed.

    Args:
        arguments: From the parser.
        kind: The dataclass.
        defaults: As given to :func:`add_options`.

    Raises:
        InputError: A value cannot be read, or lies outside its range or choices.
    """
    values = dict(defaults)
    for field in dataclasses.fields(kind):
        if (given := getattr(arguments, field.name)) is not None:
            values[field.name] = checked_value(_option(field.name), field, given)
    return kind(**values)


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _kind(default: Any) -> str:
    return {int: "N", float: "X"}.get(type(default), "TEXT")


def _range(field: dataclasses.Field) -> str:
    low, high = field.metadata["minimum"], field.metadata["maximum"]
    if low is None:
        return "" if high is None else f"at most {high}; "
    return f"{low} or more; " if high is None else f"{low} to {high}; "


def _escaped(text: str) -> str:
    return text.replace("%", "%%")
