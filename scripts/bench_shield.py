"""`gpt-oss serve`, and `serve --direct`, beside bare llama-server: throughput, and how much later a first token comes.

    uv run python scripts/bench_shield.py

Three servers stand at once and each is asked in turn while the others idle, so that a drifting machine favours none:
the two of the launcher, and a llama-server with the arguments that `serve --direct --dry-run` prints. All tell the demo
model's longest story; the client counts events and parses none. Prints one JSON document; ratios are medians of rounds.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import httpx

from launcher.demo import demo_model_path

PORT = 18462
WAYS = {"bare": 0, "direct": 1, "serve": 2}
"""Offsets to `PORT`."""
BODY = {
    "messages": [{"role": "user", "content": "Tell me a story."}],
    "reasoning_effort": "high",
    "temperature": 0,
    "stream": True,
}
SLICE_S = 0.4  # of streams, at least: a single one of 200 tokens takes 60 ms on this model
N_SLICES = 8  # of each way in a round: the speed of a shared machine drifts by a tenth within seconds
START_TIMEOUT_S = 60.0


@contextmanager
def servers(arguments: list[str]) -> Iterator[None]:
    """All three, on ports of their own; gone at the end."""
    launcher = [str(Path(sys.executable).with_name("gpt-oss")), "serve", *arguments]
    with TemporaryDirectory() as state, ExitStack() as stack:
        environment = {**os.environ, "XDG_STATE_HOME": state, "XDG_CONFIG_HOME": state}

        def run(command: list[str]) -> None:
            process = stack.enter_context(
                subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            )
            stack.callback(process.terminate)

        bare = [*launcher, "--direct", "--port", str(PORT + WAYS["bare"])]
        run(shlex.split(subprocess.check_output([*bare, "--dry-run"], env=environment, text=True)))
        run([*launcher, "--direct", "--port", str(PORT + WAYS["direct"])])
        run([*launcher, "--port", str(PORT + WAYS["serve"])])
        for offset in WAYS.values():
            wait_until_ready(PORT + offset)
        yield


def wait_until_ready(port: int) -> None:
    """Ask until it answers."""
    until = time.monotonic() + START_TIMEOUT_S
    while time.monotonic() < until:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/health").status_code == httpx.codes.OK:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"nothing answers on port {port}")


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


async def throughput(port: int, n_streams: int) -> tuple[int, float]:
    """Events, and seconds, of `n_streams` clients that ask again and again."""
    started = time.perf_counter()

    async def client() -> int:
        count = 0
        while time.perf_counter() < started + SLICE_S:
            count += (await stream(port))[1]
        return count

    counts = await asyncio.gather(*(client() for _ in range(n_streams)))
    return sum(counts), time.perf_counter() - started


async def one_round(n_streams: int) -> dict[str, float]:
    """Events per second of each way, in slices that take turns."""
    counts, seconds = dict.fromkeys(WAYS, 0), dict.fromkeys(WAYS, 0.0)
    for number in range(N_SLICES):
        for way in sorted(WAYS, reverse=bool(number % 2)):
            count, elapsed_s = await throughput(PORT + WAYS[way], n_streams)
            counts[way] += count
            seconds[way] += elapsed_s
    return {way: counts[way] / seconds[way] for way in WAYS}


async def first_token_ms(port: int, n: int) -> float:
    """Median time to the first token of lone requests."""
    return statistics.median([(await stream(port))[0] * 1e3 for _ in range(n)])


async def measure(args: argparse.Namespace) -> dict[str, Any]:
    """All rounds."""
    result: dict[str, Any] = {}
    for offset in WAYS.values():
        await first_token_ms(PORT + offset, 5)
    for n_streams in args.streams:
        rounds = []
        for _ in range(args.rounds):
            rates = await one_round(n_streams)
            rounds.append(rates)
            print(n_streams, {way: round(rate) for way, rate in rates.items()}, file=sys.stderr)
        result[f"{n_streams}_streams"] = {
            "events_per_s": {way: round(statistics.median(rates[way] for rates in rounds)) for way in WAYS},
            **{way: ratios([rates[way] / rates["bare"] for rates in rounds]) for way in WAYS if way != "bare"},
        }
    lone = [{way: await first_token_ms(PORT + WAYS[way], 20) for way in WAYS} for _ in range(args.rounds)]
    result["lone_first_token_ms"] = {
        "bare": round(statistics.median(times["bare"] for times in lone), 2),
        **{
            f"{way}_added": round(statistics.median(times[way] - times["bare"] for times in lone), 2)
            for way in WAYS
            if way != "bare"
        },
    }
    return result


def ratios(values: list[float]) -> dict[str, Any]:
    """The median, and what it is of."""
    return {"median_ratio": round(statistics.median(values), 3), "ratios": [round(value, 3) for value in values]}


def main() -> None:
    """Start all, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--streams", type=int, nargs="+", default=[1, 4, 64])
    parser.add_argument("--model", type=Path, default=demo_model_path())
    parser.add_argument("--parallel", type=int, default=4, help="llama-server's slots")
    args = parser.parse_args()
    with servers(["--model", str(args.model), "--parallel", str(args.parallel)]):
        result = asyncio.run(measure(args))
    print(json.dumps({"parallel": args.parallel, "model": args.model.name, **result}, indent=1))


if __name__ == "__main__":
    main()
