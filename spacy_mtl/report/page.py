"""The page: tables and plots of a report, put into the template."""

from jinja2 import Environment, PackageLoader, StrictUndefined

from .. import __version__
from . import data, figures, plots, tables
from .collect import Report


def render(report: Report) -> str:
    """The whole page, as HTML."""
    loader = PackageLoader("spacy_mtl.report", ".")
    environment = Environment(
        loader=loader,
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html.j2").render(
        report=report,
        version=__version__,
        colours=list(zip(plots.COLOURS, plots.DARK_COLOURS, strict=True)),
        facts=_facts(report),
        overview=tables.overview(report),
        learning=[plot for task in report.tasks if (plot := figures.learning(task)) is not None],
        gradients=figures.gradient_plots(report),
        has_gradients=any(row.has_gradients for row in report.rows),
        balancer=_balancer(report),
        maps=figures.heat_maps(report),
        audit=data.audit_of(report.rows),
        sources=tables.sources(report),
        transfer=None if report.transfer is None else tables.transfer(report.transfer),
        advice=tables.advice(report.transfer),
        confusion=tables.confusion_table,
        wrong=tables.wrong_table,
        is_drawn=lambda one: one.kind in ("entities", "spans") and one.table is not None,
        percent=lambda value: f"{100 * value:.1f} %",
    )


def _facts(report: Report) -> list[tuple[str, str]]:
    best = max(report.rows, key=lambda row: row.score)
    last = report.rows[-1]
    versions = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    return [
        ("Pipeline", f"{report.nlp_name} {report.nlp_version} ({report.lang})"),
        ("Read from", report.model),
        ("Best evaluation", f"step {best.step:,}, score {best.score:.2f}"),
        (
            "Training",
            f"{last.step:,} steps, {len(report.rows):,} evaluations, {last.epoch + 1:,} epochs begun",
        ),
        *((f"The {kind}", path) for kind, path in report.files.items()),
        ("Made", f"{report.date:%Y-%m-%d %H:%M %Z}".strip()),
        ("Made with", versions),
    ]


def _balancer(report: Report) -> str:
    if report.balancer is None:
        return "No balancer: the encoder gets the plain sum of the tasks' gradients."
    settings = {k: v for k, v in report.balancer.items() if k != "@balancers" and v is not None}
    named = ", ".join(f"{key} = {value}" for key, value in settings.items())
    return f"Balancer: {report.balancer.get('@balancers')}" + (f" with {named}." if named else ".")
