"""Write down what llama-server itself makes of every malformed turn: each API, streamed or not, with a tool or without.

    uv run python scripts/server_malformed.py
    uv run python scripts/server_malformed.py --reasoning-format none   # with other flags; nothing is written

The model is the test fixture that breaks Harmony on demand; decoding is greedy, so the file changes only
with the engine.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
from tiny_gpt_oss.malformed import SHAPES

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from tests.server import malformed  # noqa: E402  # tests are no package of the project's

TARGET = ROOT / "tests" / "data" / "harmony" / "server-malformed.json"
PORT = 18461


def row(client: httpx.Client, url: str, shape: str, api: malformed.Api, *, stream: bool, tools: bool) -> dict[str, Any]:
    """One turn and what became of it."""
    answer = malformed.ask(client, url, api, malformed.request(api, shape, stream=stream, tools=tools))
    found = asdict(answer) | {"survived": answer.survived}
    # What is empty says nothing, and there are 360 rows.
    kept = {key: value for key, value in found.items() if value not in ("", [], None)}
    return {"shape": shape, "api": api, "stream": stream, "tools": tools, **kept}


def main() -> None:
    """Ask everything once."""
    flags = sys.argv[1:]
    with malformed.running_server(PORT, *flags) as server, malformed.new_client() as client:
        build = client.get(f"{server.url}/props").json()["build_info"]
        rows = [
            row(client, server.url, shape, api, stream=stream, tools=tools)
            for shape in SHAPES
            for api in malformed.APIS
            for stream in (False, True)
            for tools in (False, True)
        ]
    lost = sum(not each["survived"] for each in rows)
    said = [" ".join(map(str, (each.get("content"), each.get("reasoning")))) for each in rows if each["survived"]]
    calls = sum(bool(each.get("calls")) for each in rows)
    leaks = sum("<|" in text for text in said)
    print(f"{lost} of {len(rows)} turns are lost, {leaks} show control tokens, {calls} make a call", file=sys.stderr)
    if flags:
        return
    lines = ",\n  ".join(json.dumps(each, ensure_ascii=False) for each in rows)
    spoken = json.dumps(SHAPES, ensure_ascii=False, indent=1).replace("\n", "\n ")
    TARGET.write_text(f'{{\n "llama_cpp": {json.dumps(build)},\n "shapes": {spoken},\n "rows": [\n  {lines}\n ]\n}}\n')


if __name__ == "__main__":
    main()
