"""A quality report for a person."""

from __future__ import annotations

from typing import TYPE_CHECKING

from launcher.cli.output import report_console

if TYPE_CHECKING:
    from rich.console import Console

    from launcher.bench.quality_types import QualityReport, Setting


PAST = "past it"
NARROW = 64
"""Columns of a terminal below which the table has figures alone."""
_LARGE = 1000.0


def print_report(report: QualityReport, *, console: Console | None = None) -> None:
    """Print both settings, a table of what was found beside its bounds, and the verdict, on stdout."""
    from rich import box
    from rich.table import Table

    console = console or report_console()
    console.print(f"reference: {setting_text(report.reference)}", markup=False)
    console.print(f"candidate: {setting_text(report.candidate)}", markup=False)
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    table.add_column("against the reference")
    table.add_column("found", justify="right", no_wrap=True)
    whole = console.width >= NARROW
    if whole:
        table.add_column("bound", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for name, found, bound, past in rows_of(report, errors=whole):
        table.add_row(name, found, *((bound,) if whole else ()), past)
    console.print(table)
    verdict = "passes" if report.passes else "does not pass"
    console.print(f"{verdict}, judged as {report.bounds.basis}; {report.n_tokens} positions compared")


def rows_of(report: QualityReport, *, errors: bool = True) -> list[tuple[str, str, str, str]]:
    """Name, figure with how sure it is, bound and a mark where it is past."""
    bounds = report.bounds
    error = shift = interval = ""
    if errors and report.mean_kld_error is not None:
        error = f" ± {report.mean_kld_error:.2g}"
    if errors and report.top1_low is not None and report.top1_high is not None:
        interval = f" ({report.top1_low:.1%} to {report.top1_high:.1%})"
    if errors and report.ln_ppl_ratio_error is not None:
        shift = f" ± {report.ln_ppl_ratio_error:.2g}"
    past = dict.fromkeys(report.past, PAST)
    rows = [
        ("KL divergence, mean, nats", _figure(report.mean_kld) + error, f"<= {bounds.mean_kld:g}", "mean_kld"),
        ("  median", _figure(report.median_kld), "", ""),
        ("  99th percentile", _figure(report.p99_kld), f"<= {bounds.p99_kld:g}", "p99_kld"),
        ("  largest", _figure(report.max_kld), "", ""),
        ("same likeliest token", _share(report.top1_agreement) + interval, "", ""),
        ("  another is clearly it", _share(report.clear_flips), f"<= {bounds.clear_flips:.0%}", "clear_flips"),
        (
            "log of perplexity, change",
            _figure(report.ln_ppl_ratio) + shift,
            f"<= {bounds.ln_ppl_ratio:g}",
            "ln_ppl_ratio",
        ),
        ("perplexity", f"{_ppl(report.reference_ppl)} to {_ppl(report.candidate_ppl)}", "", ""),
    ]
    if report.n_nan:
        rows.append(("positions that are no number", str(report.n_nan), "none", "n_nan"))
    return [(name, found, bound, past.get(field, "")) for name, found, bound, field in rows]


def setting_text(setting: Setting) -> str:
    """`name.gguf, K q8_0, V q8_0, flash attention, micro-batches of 512, CPU, 2 threads`."""
    params = setting.load_params
    parts = [
        setting.model.name,
        f"cache {params.type_k}" if params.type_k == params.type_v else f"cache {params.type_k}/{params.type_v}",
        "flash attention" if params.flash_attn else "no flash attention",
        *(["repacked"] if params.repack else []),
        f"n_ubatch {params.n_ubatch}",
        ", ".join(params.devices) if params.devices else "CPU",
        "1 thread" if params.n_threads == 1 else f"{params.n_threads} threads",
    ]
    return ", ".join(parts)


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.3g}"


def _ppl(value: float | None) -> str:
    return "-" if value is None else f"{value:.4g}" if value < _LARGE else f"{value:.0f}"


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"
