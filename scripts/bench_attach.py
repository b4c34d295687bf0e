#!/usr/bin/env python3
"""How soon an attached chat says its first token, beside a ten-line script on httpx.

Both are whole programs, Python's own start included, and ask a `gpt-oss serve` that runs here on the demo model. They
take turns, so that a drifting machine favours none. `--chat` measures the real command as a third one.

    scripts/bench_attach.py --rounds 15
    scripts/bench_attach.py --chat
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

from launcher.demo import demo_model_path

QUESTION = "What is the capital of France?"
LIMIT = 1.5
"""What the chat may take, against the script."""
SCRIPT = """
import sys, json, httpx
url, question = sys.argv[1:]
body = {"model": "gpt-oss", "stream": True, "temperature": 0, "messages": [{"role": "user", "content": question}]}
with httpx.stream("POST", url + "/v1/chat/completions", json=body, timeout=60) as answer:
    for line in answer.iter_lines():
        if line.startswith("data: {"):
            delta = json.loads(line[6:])["choices"][0]["delta"]
            print(delta.get("reasoning_content") or delta.get("content") or "", end="", flush=True)
"""
ATTACHED = """
import sys
from launcher.settings_file import load_settings
from launcher.cli.attach import find_server, open_attached
from launcher.engines.types import Message, Sampling, TextDelta
record = find_server(load_settings({"temperature": 0.0}))
with open_attached(record) as engine:
    for delta in engine.chat([Message(role="user", content=sys.argv[2])], Sampling(temperature=0.0)):
        if isinstance(delta, TextDelta):
            print(delta.text, end="", flush=True)
"""


def first_byte_ms(command: list[str], environ: dict[str, str]) -> float:
    """Wall time from the start of a program to the first byte that it prints."""
    begin = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environ, bufsize=0
    ) as process:
        assert process.stdout is not None
        first = process.stdout.read(1)
        took = time.perf_counter() - begin
        _, err = process.communicate()
    if not first.strip() or process.returncode != 0:
        raise SystemExit(f"{command[1][:40]!r} said nothing:\n{err.decode()}")
    return took * 1e3


def main() -> int:
    """Measure, print, and end with 1 where the limit is broken."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--chat", action="store_true", help="measure `gpt-oss chat` too; it has to attach by itself")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    command = str(Path(sysconfig.get_path("scripts")) / "gpt-oss")
    with tempfile.TemporaryDirectory() as root:
        environ = os.environ | {
            f"GPT_OSS_{kind}_DIR": f"{root}/{kind}" for kind in ("CONFIG", "DATA", "STATE", "CACHE")
        }
        environ["GPT_OSS_THREADS"] = "1"
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        serve = [command, "serve", "--model", str(demo_model_path()), "--port", str(port), "--detach"]
        subprocess.run(serve, env=environ, check=True, capture_output=True)
        url = f"http://127.0.0.1:{port}"
        programs = {
            "httpx script": [sys.executable, "-c", SCRIPT, url, QUESTION],
            "find_server + engine": [sys.executable, "-c", ATTACHED, url, QUESTION],
        }
        if args.chat:
            programs["gpt-oss chat"] = [command, "chat", "--no-reasoning", "--temp", "0", QUESTION]
        took: dict[str, list[float]] = {name: [] for name in programs}
        try:
            for turn in range(args.rounds + 1):
                for name, program in programs.items():
                    found = first_byte_ms(program, environ)
                    if turn:  # the first fills the caches of the disk and of the prompt
                        took[name].append(found)
        finally:
            subprocess.run([command, "stop", "--all"], env=environ, check=True, capture_output=True)
    medians = {name: statistics.median(values) for name, values in took.items()}
    base = medians["httpx script"]
    if args.json:
        print(json.dumps({"rounds": args.rounds, "median_ms": medians, "all_ms": took}))
    else:
        for name, value in medians.items():
            spread = f"{min(took[name]):.0f} to {max(took[name]):.0f}"
            print(f"{name:22} {value:7.1f} ms to the first token ({spread})  {value / base:5.2f} of the script")
    return int(any(value > LIMIT * base for value in medians.values()))


if __name__ == "__main__":
    sys.exit(main())
