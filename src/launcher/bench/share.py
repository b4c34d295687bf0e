"""Records as a file to give away: one JSON document, or one web page that needs nothing else. Pure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from launcher.bench.chart import charts_of
from launcher.bench.plot import to_svg
from launcher.bench.private import without_private
from launcher.bench.rows import row_of
from launcher.bench.stats import NOISY_CV, Summary, summarise
from launcher.bench.types import SCHEMA, BenchRecord

_TITLE = "gpt-oss bench"
_FACTS = (
    *("model_filename", "model_type", "model_size", "model_n_params", "cpu_info", "gpu_info", "backends"),
    *("build_commit", "build_number", "launcher_version"),
    *("n_threads", "n_batch", "n_ubatch", "type_k", "type_v", "n_gpu_layers", "n_cpu_moe", "split_mode"),
    *("flash_attn", "devices", "tensor_split", "load_mode", "repack"),
)
"""What the page tells of the machine, the build and the settings."""
_STYLE = """
:root { color-scheme: light dark; --text: #1c1e21; --page: #ffffff; --soft: #5f6670; --line: #d9dce1; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e6ea; --page: #16181c; --soft: #a7aeb8; --line: #363b43; } }
body { margin: 0 auto; padding: 2rem 1rem 4rem; max-width: 64rem; background: var(--page); color: var(--text);
  font: 1rem/1.5 system-ui, sans-serif; }
h1 { font-size: 1.4rem; } h2 { font-size: 1.1rem; margin-top: 2rem; } .soft { color: var(--soft); }
.wide { overflow-x: auto; } table { border-collapse: collapse; }
th, td { padding: .3rem .8rem .3rem 0; border-bottom: 1px solid var(--line); text-align: left; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
svg { max-width: 100%; height: auto; }
"""


def share_json(records: Sequence[BenchRecord], names: Sequence[str]) -> str:
    """One document that `gpt-oss bench compare` reads. `names` of user and host are taken out wherever they stand."""
    document = {"schema": SCHEMA, "kind": _TITLE, "records": without_private(records, names)}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def share_html(records: Sequence[BenchRecord], names: Sequence[str]) -> str:
    """One page without scripts or anything from elsewhere: the speeds, the charts, the settings."""
    shared = without_private(records, names)
    rows = [row_of(item) for item in shared]
    charts = charts_of(rows)
    lines = "\n".join(
        _line(row.name, row.engine, row.model, summarise(row.samples_ts), item)
        for row, item in zip(rows, shared, strict=True)
    )
    facts = "\n".join(f"<tr><th>{name}</th><td>{escape(_values(shared, name))}</td></tr>" for name in _FACTS)
    when = min((str(item["test_time"]) for item in shared), default="")
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="referrer" content="no-referrer">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{_TITLE}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{_TITLE}</h1>
<p class="soft">{escape(when)}. Tokens per second, {escape("mean ± standard deviation")} of each test's samples; ~ marks
a spread past {NOISY_CV:.0%} of the mean.{escape(_energy(shared))}</p>
<div class="wide"><table>
<tr><th>test</th><th>engine</th><th>model</th><th class="n">tokens/s</th><th></th><th class="n">median</th>
<th class="n">samples</th><th class="n">predicted</th><th class="n">J/token</th></tr>
{lines}
</table></div>
<h2>Charts</h2>
{to_svg(charts, title=_TITLE) if charts else ""}
<h2>Machine, build and settings</h2>
<div class="wide"><table>
{facts}
</table></div>
</body>
</html>
"""


def _line(name: str, engine: str, model: str, summary: Summary, item: Mapping[str, Any]) -> str:
    predicted = item["predicted_ts"]
    texts = (name, engine, model)
    numbers = (
        f"{summary.mean:.2f} ± {summary.stddev:.2f}",
        "~" if summary.noisy else "",
        f"{summary.median:.2f}",
        str(summary.n),
        "" if predicted is None else f"{predicted:.2f}",
        "" if item["j_per_token"] is None else f"{item['j_per_token']:.3g}",
    )
    cells = [f"<td>{escape(text)}</td>" for text in texts] + [f'<td class="n">{number}</td>' for number in numbers]
    return f"<tr>{''.join(cells)}</tr>"


def _energy(shared: Sequence[Mapping[str, Any]]) -> str:
    """What the joules are of, where there are any."""
    of = dict.fromkeys(", ".join(item["energy_of"]) for item in shared if item["j_per_token"] is not None)
    return f" J/token: energy of {'; '.join(of)}, idle power included." if of else ""


def _values(shared: Sequence[Mapping[str, Any]], name: str) -> str:
    """All values of a field, each once."""
    return ", ".join(dict.fromkeys(str(item[name]) for item in shared))
