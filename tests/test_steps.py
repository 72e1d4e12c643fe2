"""What all steps must do, and what each one does."""

from __future__ import annotations

import inspect
from dataclasses import fields

import pytest

from edgepack import plugins
from edgepack.artifact import FORMS
from edgepack.step import NEEDS, Step

STEPS = plugins.names("steps")


def step_class(name: str) -> type[Step]:
    found: type[Step] = plugins.class_of(plugins.load("steps", name))
    return found


@pytest.mark.parametrize("name", STEPS)
def test_a_step_states_its_forms_and_needs(name: str) -> None:
    step = step_class(name)
    assert step.takes and step.takes <= set(FORMS)
    assert step.gives in FORMS
    assert step().needs() <= set(NEEDS)
    assert not step.adds & step.breaks
    assert step.step_name() == name


@pytest.mark.parametrize("name", STEPS)
def test_a_step_is_documented(name: str) -> None:
    module = plugins.load("steps", name)
    assert inspect.getdoc(module) and inspect.getdoc(step_class(name).apply)
    for field in step_class(name).settings():
        assert field.metadata["help"], field.name


@pytest.mark.parametrize("name", STEPS)
def test_defaults_are_allowed(name: str) -> None:
    step = step_class(name)()
    step.check()
    for field in step_class(name).settings():
        value, facts = getattr(step, field.name), field.metadata
        assert facts["low"] is None or value >= facts["low"], field.name
        assert facts["high"] is None or value <= facts["high"], field.name
        assert not facts["choices"] or value in facts["choices"], field.name


@pytest.mark.parametrize("name", STEPS)
def test_every_field_is_a_setting(name: str) -> None:
    step = step_class(name)
    assert [f.name for f in fields(step)] == [f.name for f in step.settings()]
