"""A soak of the app: honest visitors who search, and beside them newcomers, a flood of calls and connections that send nothing.

    python benchmarks/soak.py --minutes 6
    git worktree add ../before REVISION && python benchmarks/soak.py --app ../before

It starts the app of a checkout on loopback; every client has a loopback address of its own. Nothing is asserted: it prints what
honest visitors lost, how many calls failed, how long a search took and what the server's memory and log came to.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np

sys.path += [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "tests/helpers")]

from app_process import free_port, wait_for
from make_images import encode, picture

API = "gradio_api"
SENTENCE, QUERY = "photos of people surfing", "a man on a wave"
HONEST, HONEST_PHOTOS, NEWCOMERS, FLOOD, SLOW = 5, 20, 205, 2_000, 120


class Client:
    """One visitor with photos of its own, under a loopback address of its own."""

    def __init__(self, url: str, number: int) -> None:
        transport = httpx.HTTPTransport(local_address=f"127.0.{1 + number // 250}.{1 + number % 250}")
        self.http = httpx.Client(base_url=url, transport=transport, timeout=120)
        self.number, self.session = number, f"soak-{number}-{os.getpid()}"
        self.names: set[str] = set()

    def call(self, endpoint: str, *values: Any) -> Any:
        """The answer of an endpoint. Raises RuntimeError with what was said instead."""
        joined = self.http.post(f"{API}/call/{endpoint}", json={"data": values, "session_hash": self.session})
        if joined.status_code != 200:
            raise RuntimeError(f"{joined.status_code}")
        with self.http.stream("GET", f"{API}/call/{endpoint}/{joined.json()['event_id']}") as answer:
            lines = [line for line in answer.iter_lines() if line]
        if "event: complete" not in lines:
            raise RuntimeError(lines[-1][:80] if lines else "no answer")
        return json.loads(lines[-1].removeprefix("data: "))[0]

    def add(self, count: int) -> None:
        files = []
        for i in range(count):
            name = f"{self.number}-{i}.png"
            content = encode(picture(1000 * self.number + i), "PNG")
            path = self.http.post(f"{API}/upload", files={"files": (name, content)}).json()[0]
            files.append({"path": path, "orig_name": name, "meta": {"_type": "gradio.FileData"}})
            self.names.add(name)
        self.call("index", files, "")

    def lost(self) -> int:
        """How many of its photos a search finds no more."""
        found = self.call("search", QUERY, SENTENCE, 4, 0.1, 0, 1.0, len(self.names))
        return len(self.names - {hit["name"] for hit in found["sg_lora"]})


class Soak:
    """What happens in one run, phase by phase."""

    def __init__(self, url: str) -> None:
        self.url, self.lock, self.end = url, threading.Lock(), threading.Event()
        self.phase = "calm"
        self.seconds: dict[str, list[float]] = {}
        self.errors: Counter[str] = Counter()
        self.losses: Counter[str] = Counter()

    def attempt(self, who: str, client: Client) -> None:
        started, phase = time.monotonic(), self.phase
        try:
            lost = client.lost()
        except (RuntimeError, httpx.HTTPError, ValueError) as error:
            with self.lock:
                self.errors[f"{phase}, {who}: {str(error) or type(error).__name__}"] += 1
            return
        with self.lock:
            self.losses[who] += lost > 0
            if who == "honest":
                self.seconds.setdefault(phase, []).append(time.monotonic() - started)

    def honest(self, number: int) -> None:
        client = Client(self.url, number)
        client.add(HONEST_PHOTOS)
        while not self.end.is_set():
            self.attempt("honest", client)
            time.sleep(0.5)

    def newcomer(self, number: int) -> None:
        client = Client(self.url, number)
        try:
            client.add(1)
        except (RuntimeError, httpx.HTTPError, KeyError, ValueError) as error:
            with self.lock:
                self.errors[f"{self.phase}, newcomer adds: {str(error)[:60]}"] += 1
            return
        self.attempt("newcomer", client)

    def flood(self) -> Counter[int]:
        client = Client(self.url, 240)
        body = {"data": [SENTENCE, 4, 0.1], "session_hash": client.session}
        return Counter(client.http.post(f"{API}/call/route", json=body).status_code for _ in range(FLOOD))

    def slow(self, seconds: float) -> None:
        address = httpx.URL(self.url)
        open_ones = [socket.create_connection((address.host, address.port)) for _ in range(SLOW)]
        for each in open_ones:
            each.sendall(b"POST /gradio_api/queue/join HTTP/1.1\r\nHost: x\r\nContent-Le")
        time.sleep(seconds)
        for each in open_ones:
            each.close()


def resident_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def measure(app: Path, minutes: float) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        port, log = free_port(), Path(folder) / "log.txt"
        environment = {**os.environ, "GRADIO_SERVER_PORT": str(port), "TMPDIR": folder}
        with log.open("w") as out:
            process = subprocess.Popen([sys.executable, app / "app.py"], cwd=folder, env=environment, stdout=out, stderr=out)
        url = f"http://127.0.0.1:{port}/"
        memory: list[float] = []
        try:
            wait_for(url, process, log)
            soak = Soak(url)
            Client(url, 239).call("route", SENTENCE, 4, 0.1)  # the models are there
            with ThreadPoolExecutor(HONEST) as honest, ThreadPoolExecutor(8) as crowd:
                working = [honest.submit(soak.honest, number) for number in range(HONEST)]
                pause = 60 * minutes / 6
                time.sleep(pause)
                memory.append(resident_mb(process.pid))
                soak.phase = "newcomers"
                list(crowd.map(soak.newcomer, range(300, 300 + NEWCOMERS)))
                memory.append(resident_mb(process.pid))
                soak.phase = "flood"
                statuses = soak.flood()
                time.sleep(pause)
                memory.append(resident_mb(process.pid))
                soak.phase = "slow connections"
                soak.slow(pause)
                soak.phase = "after"
                time.sleep(pause)
                memory.append(resident_mb(process.pid))
                soak.end.set()
                for each in working:
                    each.result()
            log_kb = log.stat().st_size / 1024
        finally:
            process.terminate()
            process.wait(60)
    seconds = {phase: [round(float(np.percentile(s, p)), 2) for p in (50, 95)] for phase, s in soak.seconds.items()}
    return {
        "searches": sum(map(len, soak.seconds.values())),
        "search seconds, median and 95 %": seconds,
        "searches or visitors with lost photos": dict(soak.losses),
        "errors": dict(soak.errors),
        "flood's answers": dict(statuses),
        "resident MB after each phase": [round(m) for m in memory],
        "log kB": round(log_kb),
        "processor": os.cpu_count(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--app", type=Path, default=Path(__file__).parents[1], help="the checkout (default: this one)")
    parser.add_argument("--minutes", type=float, default=6.0, help="for all phases but newcomers and flood (default: 6)")
    arguments = parser.parse_args()
    print(json.dumps(measure(arguments.app.resolve(), arguments.minutes), indent=1))


if __name__ == "__main__":
    main()
