"""Renders the HTML templates; every value is escaped unless the template marks it as safe."""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from effv2_tune.plurals import pluralized
from effv2_tune.report.quantities import human_seconds

if TYPE_CHECKING:
    import jinja2


def render(template: str, **values: Any) -> str:
    """The text of a template in ``templates/``.

    Args:
        template: Its file name.
        values: The variables of the template.
    """
    return _environment().get_template(template).render(values)


def asset(name: str) -> str:
    """The text of a file in ``assets/``."""
    return files("effv2_tune.report.html").joinpath("assets", name).read_text(encoding="utf-8")


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("effv2_tune.report.html"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"human_seconds": human_seconds, "pluralized": pluralized}
    # Of JSON, ``tojson`` escapes what could end a script element.
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":")}
    return environment
