"""What is given away tells nothing of whose machine it was."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from launcher.bench.private import REMOVED, without_private, without_secrets
from launcher.bench.rows import rows_of_text
from launcher.bench.share import share_html, share_json
from launcher.bench.types import BenchRecord, Latency, PeakMemory
from launcher.records import from_jsonable, to_jsonable
from tests.bench.samples import ENERGY, record

USER, HOST, PERSON = "alicesmith", "vault-box", "Alice Q. Smith"
NAMES = (USER, HOST, PERSON, "bob")
SECRETS = {
    "home": f"/home/{USER}/models/private one/x.gguf",
    "tilde": "~bob/secret-plans/x.gguf",
    "windows": r"C:\Users\Alice\secret-plans\x.gguf",
    "share": r"\\vault\secret-plans\x",
    "user": f"built by {USER} for fun",
    "user in a word": f"my{USER.upper()}gpu",
    "short user": "bob_gpu",
    "host": f"on {HOST}.example.org",
    "person": f"{PERSON}'s laptop",
    "token": "hf_abcdefghijklmnopqrstuvwx",
    "key": "sk-proj-abcdef123456",
    "environment": "OPENAI_API_KEY=topsecretvalue",
    "mail": "carol@corp.example",
    "address": "https://carol:pw@intranet.corp/x",
    "network": "192.168.17.23",
    "hardware address": "de:ad:be:ef:00:17",
    "device": "GPU-1b671a64-40d5-491e-99b0-da01ff1f3341",
    "serial": "9f86d081884c7d659a2feaa0c55ad015",
    "random": "dGhpcyBpcyBhIHNlY3JldCBrZXkgMTIz",
    "line": f"x\x1b]0;{USER}\x07\n/root/.ssh/x",
}
"""Each in every place of a record that holds text."""
NEEDLES = (
    *(USER, HOST, "Alice", "bob", "secret", "carol", "corp", "intranet", "hf_abc", "sk-proj", "API_KEY"),
    *("192.168", "de:ad", "1b671a64", "9f86d0818", "dGhpcyBp", ".ssh", "private one", "/models", "/root"),
    *("vault", "\x1b"),
)
FIXED = {"engine"}
"""Text that is one of a few words."""


def planted(secret: str) -> BenchRecord:
    """A record with the secret in every text, the plan and its keys included."""
    base = record(latency=Latency(ttft_ms=1, itl_p50_ms=1, itl_p90_ms=1, itl_p99_ms=1, output_ts=1))
    texts: dict[str, Any] = {
        field.name: secret
        for field in dataclasses.fields(base)
        if isinstance(getattr(base, field.name), str) and field.name not in FIXED
    }
    device = {"name": secret, "description": secret, "device_id": secret, secret: secret}
    plan = {
        secret: secret,
        "tier": secret,
        "notes": [secret],
        "argv": ["llama-server", "-m", secret],
        "model": {"local_path": secret, "name": secret},
        "load_params": {"type_k": secret, "n_ctx": {secret: secret}, "devices": [secret], "extra": secret},
        "memory": [{"device": secret, "model_bytes": 7}],
        "throughput": [{"n_depth": 0, "basis": secret}],
        "hardware": {"os": secret, "cpu": {"name": secret}, "memory": {"limit_source": secret}, "devices": [device]},
        "candidates": [{"name": secret}],
    }
    memory = (PeakMemory(device=secret, peak_bytes=1, planned_bytes=2),)
    energy: dict[str, Any] = {"energy_j": 3.0, "j_per_token": 1.5, "energy_of": (secret, "CUDA0")}
    return dataclasses.replace(base, **texts, **energy, plan=plan, memory=memory, predicted_basis=secret)


@pytest.mark.parametrize("secret", SECRETS.values(), ids=list(SECRETS))
def test_no_secret_of_any_field_comes_out(secret: str) -> None:
    item = planted(secret)
    found = share_json([item], NAMES) + share_html([item], NAMES)
    kept = [needle for needle in NEEDLES if needle.lower() in secret.lower() and needle.lower() in found.lower()]
    assert kept == []


def test_the_model_keeps_its_files_name_alone() -> None:
    path = f"/home/{USER}/models/gpt-oss-20b-mxfp4.gguf"
    item = record(model_filename=path, model=path)
    (shared,) = without_private([item], NAMES)
    assert shared["model_filename"] == shared["model"] == "gpt-oss-20b-mxfp4.gguf"
    assert USER not in share_html([item], NAMES)


def test_what_a_bench_is_about_stays_as_it_is() -> None:
    item = record(
        gpu_info="NVIDIA GeForce RTX 4090, AMD Radeon RX 7900 XTX (RADV NAVI31)",
        cpu_info="Intel(R) Core(TM) i9-14900K @ 3.20GHz",
        model_filename="gpt-oss-120b-mxfp4-00001-of-00003.gguf",
        model_type="gpt-oss 120B MXFP4 MoE",
        devices="CUDA0/CUDA1",
        tensor_split="0.50/0.50",
        tensor_buft_overrides=r"blk\.(3|4)\.ffn_(up|down|gate)_exps=CPU",
        build_commit="0c1e570aa0c1e570aa0c1e570aa0c1e570aa0c1e",
        predicted_ts=12.5,
        predicted_basis="RAM 41.2 GB/s, measured here on 2026-11-22",
        energy_j=9.5,
        j_per_token=1.25,
        energy_of=("package-0", "package-1-die-0", "dram-0", "CUDA0", "ROCm1"),
    )
    (shared,) = without_private([item], NAMES)
    own = to_jsonable(item)
    assert {name: shared[name] for name in own if name != "run_id"} == {
        name: value for name, value in own.items() if name != "run_id"
    }


def test_a_plan_is_cut_to_what_it_measures() -> None:
    plan: dict[str, Any] = {
        "tier": "cpu",
        "notes": ["x"],
        "load_params": {"n_ctx": 4096, "type_k": "f16", "tensor_split": [0.5, 0.5]},
        "hardware": {"cpu": {"name": "AMD EPYC", "isa": ["AVX2"]}, "memory": {"total_bytes": 7, "limit_source": "/x"}},
        "model": {"id": "gpt-oss-20b", "quant": "MXFP4", "local_path": "/x", "files": [{"path": "/x"}]},
    }
    (shared,) = without_private([record(plan=plan)], NAMES)
    assert shared["plan"] == {
        "tier": "cpu",
        "load_params": {"n_ctx": 4096, "type_k": "f16", "tensor_split": [0.5, 0.5]},
        "hardware": {"cpu": {"name": "AMD EPYC", "isa": ["AVX2"]}, "memory": {"total_bytes": 7}},
        "model": {"id": "gpt-oss-20b", "quant": "MXFP4"},
    }


def test_a_shared_file_is_records_again() -> None:
    items = [record(), record(run_id="run-b", n_gen=64), record(n_gen=32)]
    text = share_json(items, NAMES)
    shared = json.loads(text)["records"]
    assert [from_jsonable(BenchRecord, item).run_id for item in shared] == ["run-1", "run-2", "run-1"]
    assert [row.samples_ts for row in rows_of_text(text)] == [item.samples_ts for item in items]


def test_names_are_found_whole_and_long_ones_inside_of_words() -> None:
    assert without_secrets("Bob's bobsled_bob", ["bob"]) == f"{REMOVED}'s bobsled_{REMOVED}"
    assert without_secrets("xALICESMITHx", ["alicesmith"]) == f"x{REMOVED}x"
    assert without_secrets("Max 48.0 GB/s", ["max"]) == f"{REMOVED} 48.0 GB/s"
    assert without_secrets("plain", [""]) == "plain"


class Page(HTMLParser):
    """Tags and attributes of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.attributes: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes |= {name for name, _ in attrs}


def test_a_page_needs_nothing_else_and_holds_no_markup_of_others() -> None:
    evil = '<script src="x">alert(1)</script>"\'&'
    html = share_html([record(model_filename=evil, gpu_info=evil), record(n_depth=512, cpu_info=evil)], NAMES)
    page = Page()
    page.feed(html)
    assert not {"script", "img", "a", "link", "iframe"} & set(page.tags)
    assert not {"src", "href", "onload", "onclick"} & page.attributes
    assert "&lt;script" in html
    svg = html[html.index("<svg") : html.index("</svg>") + 6]
    assert ET.fromstring(svg).tag.endswith("svg")


def test_a_page_marks_noise_and_names_the_prediction() -> None:
    html = share_html([record((50.0, 100.0, 150.0, 75.0, 125.0), predicted_ts=99.5)], NAMES)
    assert '<td class="n">~</td>' in html
    assert "99.50" in html
    assert "100.00 ± 39.53" in html
    assert '<td class="n">~</td>' not in share_html([record()], NAMES)


def test_a_page_tells_energy_and_what_it_is_of() -> None:
    html = share_html([record(**ENERGY), record(n_gen=7)], NAMES)
    assert '<td class="n">1.5</td>' in html
    assert "energy of package-0, CUDA0, idle power included" in html
    assert "energy of" not in share_html([record()], NAMES)
