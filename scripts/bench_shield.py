"""The shield beside bare llama-server: throughput in interleaved pairs, and how much later a lone first token comes.

    uv run python scripts/bench_shield.py

Both answer the demo model's longest story from one llama-server, so that every pair differs in nothing but the way. The
shield runs in a process of its own, as it does under `serve`; the client counts events and parses none. Prints one JSON
document; ratios are medians over the pairs.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import statistics
import sys
import time
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

from launcher.demo import demo_model_path  # noqa: E402
from launcher.server.shield.run import start_shield  # noqa: E402
from launcher.server.shield.types import ShieldConfig  # noqa: E402
from tests.server.malformed import running_server  # noqa: E402  # tests are no package of the project's

PORT = 18462
BODY = {
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "reasoning_effort": "high",
    "temperature": 0,
    "stream": True,
}
PHASE_S = 3.0  # of streams, at least: a single one of 200 tokens takes 30 ms on this model


def serve_shield(upstream: str, channel: Connection) -> None:
    """Run a shield until told to stop."""
    with start_shield(ShieldConfig(port=0, upstream_url=upstream)) as shield:
        channel.send(shield.port)
        channel.recv()


async def stream(port: int) -> tuple[float, int]:
    """One turn: seconds to its first token, and its events."""
    body = json.dumps(BODY).encode()
    started = time.perf_counter()
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/json\r\n"
        b"Content-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    first, count, tail = 0.0, 0, b""
    while chunk := await reader.read(1 << 16):
        count += chunk.count(b"data: {")
        if not first and count:
            first = time.perf_counter() - started
        tail = (tail + chunk)[-200:]
    assert b"data: [DONE]" in tail, tail
    writer.close()
    return first, count


async def throughput(port: int, n_streams: int, phase_s: float) -> float:
    """Events per second of `n_streams` clients that ask again and again."""
    until = time.perf_counter() + phase_s
    started = time.perf_counter()

    async def client() -> int:
        count = 0
        while time.perf_counter() < until:
            count += (await stream(port))[1]
        return count

    counts = await asyncio.gather(*(client() for _ in range(n_streams)))
    return sum(counts) / (time.perf_counter() - started)


async def first_token_ms(port: int, n: int) -> float:
    """Median time to the first token of lone requests."""
    return statistics.median([(await stream(port))[0] * 1e3 for _ in range(n)])


async def measure(bare: int, shield: int, args: argparse.Namespace) -> dict[str, Any]:
    """All pairs. Which of a pair goes first alternates."""
    result: dict[str, Any] = {}
    await first_token_ms(bare, 5)
    await first_token_ms(shield, 5)
    for n_streams in args.streams:
        pairs = []
        for number in range(args.pairs):
            rates = {}
            for name, port in sorted({"bare": bare, "shield": shield}.items(), reverse=bool(number % 2)):
                rates[name] = await throughput(port, n_streams, args.phase)
            pairs.append(rates)
            print(n_streams, {name: round(rate) for name, rate in rates.items()}, file=sys.stderr)
        ratios = [pair["shield"] / pair["bare"] for pair in pairs]
        result[f"{n_streams}_streams"] = {
            "bare_events_per_s": round(statistics.median(pair["bare"] for pair in pairs)),
            "shield_events_per_s": round(statistics.median(pair["shield"] for pair in pairs)),
            "median_ratio": round(statistics.median(ratios), 3),
            "ratios": [round(ratio, 3) for ratio in ratios],
        }
    lone = [
        {"bare": await first_token_ms(bare, 20), "shield": await first_token_ms(shield, 20)} for _ in range(args.pairs)
    ]
    result["lone_first_token"] = {
        "bare_ms": round(statistics.median(pair["bare"] for pair in lone), 2),
        "shield_ms": round(statistics.median(pair["shield"] for pair in lone), 2),
        "median_added_ms": round(statistics.median(pair["shield"] - pair["bare"] for pair in lone), 2),
    }
    return result


def main() -> None:
    """Start both, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=int, default=5)
    parser.add_argument("--phase", type=float, default=PHASE_S, help="seconds of each measurement")
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 64])
    parser.add_argument("--model", type=Path, default=demo_model_path())
    parser.add_argument("--parallel", type=int, default=4, help="llama-server's slots")
    args = parser.parse_args()
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    slots = ("--parallel", str(args.parallel), "--ctx-size", str(1024 * args.parallel))
    with running_server(PORT, *slots, model=args.model) as server:
        process = context.Process(target=serve_shield, args=(server.url, theirs))
        process.start()
        try:
            result = asyncio.run(measure(PORT, ours.recv(), args))
        finally:
            ours.send(None)
            process.join()
    print(json.dumps({"parallel": args.parallel, "model": args.model.name, **result}, indent=1))


if __name__ == "__main__":
    main()
