"""Many clients at once, for minutes: `gpt-oss serve` on the demo model, 64 streams, no mixed-up answer, no leak.

Each client asks questions whose answers were taken one at a time before, and compares. An error is what a client's
usual retries (two, after half a second and a second) do not absorb. Memory is what llama-server and the launcher have
allocated, after a minute and at the end. Prints one JSON document; exit code 1 where something is not as it should be.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from launcher.demo import demo_model_path
from launcher.server.ports import loopback_port
from launcher.server.usage import host_usage

QUESTIONS = (
    "What is the capital of France?",
    "What is the capital of Italy?",
    "What is the capital of Spain?",
    "Tell me a story.",
    "Hello!",
    "What is the capital of Japan?",
)
RETRIES_S = (0.5, 1.0)
SETTLED_S = 60.0
GROWTH = 1.05
GPT_OSS = Path(sys.executable).parent / "gpt-oss"


@dataclass
class Outcome:
    """What happened."""

    n_turns: int = 0
    n_retried: int = 0
    n_errors: int = 0
    n_mixed: int = 0
    first_errors: list[str] = field(default_factory=list)


async def ask(session: aiohttp.ClientSession, url: str, question: str) -> str:
    """One streamed answer, its reasoning before it."""
    body = {"messages": [{"role": "user", "content": question}], "stream": True, "temperature": 0, "max_tokens": 200}
    parts = []
    async with session.post(f"{url}/v1/chat/completions", json=body) as answer:
        answer.raise_for_status()
        async for raw in answer.content:
            line = raw.decode().strip()
            if not line.startswith("data: ") or line == "data: [DONE]":
                continue
            event = json.loads(line.removeprefix("data: "))
            if "error" in event:
                raise aiohttp.ClientPayloadError(str(event["error"]))
            for choice in event["choices"]:
                delta = choice["delta"]
                parts.append(delta.get("reasoning_content") or delta.get("content") or "")
    return "".join(parts)


async def patient(session: aiohttp.ClientSession, url: str, question: str, outcome: Outcome) -> str | None:
    """As `ask`, with a client's usual retries; None where they do not help."""
    for pause in (*RETRIES_S, None):
        try:
            return await ask(session, url, question)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            if pause is None:
                outcome.n_errors += 1
                outcome.first_errors = [*outcome.first_errors, repr(error)][:5]
                return None
            outcome.n_retried += 1
            await asyncio.sleep(pause)
    return None


async def soak(url: str, n_clients: int, seconds: float, pids: list[int]) -> dict[str, Any]:
    """All clients at once, and memory beside."""
    outcome, memory = Outcome(), dict[str, int]()

    async def watch() -> None:
        await asyncio.sleep(min(SETTLED_S, seconds / 2))
        memory["settled_bytes"] = allocated(pids)

    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=120)) as session:
        known = {question: await patient(session, url, question, outcome) for question in QUESTIONS}
        until = time.monotonic() + seconds

        async def client(number: int) -> None:
            turn = number
            while time.monotonic() < until:
                turn += 1
                question = QUESTIONS[turn % len(QUESTIONS)]
                answer = await patient(session, url, question, outcome)
                if answer is not None:
                    outcome.n_turns += 1
                    outcome.n_mixed += answer != known[question]

        await asyncio.gather(watch(), *(client(i) for i in range(n_clients)))
    memory["end_bytes"] = allocated(pids)
    return {**asdict(outcome), **memory, "growth": memory["end_bytes"] / memory["settled_bytes"]}


def allocated(pids: list[int]) -> int:
    """Anonymous memory of these processes."""
    return sum(found.anonymous_bytes for pid in pids if (found := host_usage(pid)) is not None)


def main() -> int:
    """Serve, soak, stop, judge."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=300.0)
    parser.add_argument("serve", nargs="*", help="after --: more arguments for gpt-oss serve")
    args = parser.parse_args()
    port = str(loopback_port())
    command = [str(GPT_OSS), "serve", "--model", str(demo_model_path()), "--port", port, "--detach", "--json"]
    record = json.loads(subprocess.run([*command, *args.serve], check=True, capture_output=True, text=True).stdout)
    try:
        pids = [record["pid"], record["server_pid"]]
        found = asyncio.run(soak(f"http://127.0.0.1:{port}", args.clients, args.seconds, pids))
    finally:
        subprocess.run([str(GPT_OSS), "stop", "--port", port], check=False)
    print(json.dumps(found, indent=2))
    return int(found["n_errors"] > 0 or found["n_mixed"] > 0 or found["growth"] > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
