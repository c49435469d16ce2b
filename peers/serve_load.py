"""Asks a server of `rec-bench serve` for some minutes, with bad, huge, slow and cut-off requests mixed in.

    python serve_load.py ADDRESS SECONDS ITEM [ITEM ...]

Histories are drawn from the raw ids ITEM. Every answer is compared with the one that the same history had at the start; memory is that of the
process that listens, where /proc tells it. Prints one JSON object; ends with 1 where an answer was wrong or the server is gone.
"""

import json
import random
import socket
import sys
import threading
import time

address, seconds, items = sys.argv[1], float(sys.argv[2]), sys.argv[3:]
host, port = address.rsplit(":", 1)
HISTORIES = 200
WORKERS = 8


def connect():
    return socket.create_connection((host, int(port)), timeout=30)


def exchange(stream, body):
    head = f"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    stream.sendall(head + body)
    data = b""
    while b"\r\n\r\n" not in data:
        piece = stream.recv(65536)
        if not piece:
            return None, b""
        data += piece
    head, rest = data.split(b"\r\n\r\n", 1)
    length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length"))
    while len(rest) < length:
        piece = stream.recv(65536)
        if not piece:
            return None, b""
        rest += piece
    return int(head.split()[1]), rest


def listener():
    """The number of the process that listens, by /proc/net/tcp and the sockets of all processes."""
    import glob
    import os

    hexport = f"{int(port):04X}"
    inodes = {line.split()[9] for line in open("/proc/net/tcp").readlines()[1:] if line.split()[1].endswith(":" + hexport) and line.split()[3] == "0A"}
    for link in glob.glob("/proc/[0-9]*/fd/*"):
        try:
            if os.readlink(link) in {f"socket:[{inode}]" for inode in inodes}:
                return int(link.split("/")[2])
        except OSError:
            pass
    return None


def memory(pid):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS")) // 1024


def listed(answer):
    """The items in order: their scores may differ in the last bits with what else was asked at the time."""
    return [item["item"] for item in json.loads(answer)["answers"][0]["items"]]


draw = random.Random(1)
bodies = [json.dumps({"requests": [{"history": draw.sample(items, min(len(items), draw.randint(1, 20))), "k": 10}]}).encode() for _ in range(HISTORIES)]
with connect() as stream:
    expected = [listed(exchange(stream, body)[1]) for body in bodies]

pid = listener()
start_memory = memory(pid) if pid else None
until = time.time() + seconds
lock = threading.Lock()
latencies, statuses, wrong = [], {}, []


def ordinary(seed):
    draw, stream = random.Random(seed), connect()
    while time.time() < until:
        at = draw.randrange(HISTORIES)
        start = time.perf_counter()
        try:
            status, answer = exchange(stream, bodies[at])
        except OSError as error:
            status, answer = repr(error), b""
        took = time.perf_counter() - start
        with lock:
            statuses[status] = statuses.get(status, 0) + 1
            latencies.append(took)
            if status not in (200, 503) or (status == 200 and listed(answer) != expected[at]):
                wrong.append((status, answer[:200].decode(errors="replace")))
        if status not in (200, 503):
            stream = connect()


def hostile(seed):
    draw = random.Random(seed)
    kinds = [
        b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 12\r\n\r\n{\"requests\":",
        b"GET / HT",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" * 20,
        b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n" + b"x" * 100_000,
        b"POST /recommend HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\n",
        b"GET /" + b"a" * 300_000 + b" HTTP/1.1\r\n\r\n",
        b"POST /recommend HTTP/1.1\r\nHost: x\r\nContent-Length: 40\r\n\r\n" + b"[" * 40,
    ]
    while time.time() < until:
        try:
            with connect() as stream:
                text = draw.choice(kinds)
                if draw.random() < 0.3:
                    for byte in text[:40]:
                        stream.sendall(bytes([byte]))
                        time.sleep(0.02)
                else:
                    stream.sendall(text)
                if draw.random() < 0.5:
                    stream.settimeout(1)
                    stream.recv(1000)
        except OSError:
            pass
        time.sleep(0.01)


threads = [threading.Thread(target=ordinary, args=(seed,)) for seed in range(WORKERS)] + [threading.Thread(target=hostile, args=(100 + seed,)) for seed in range(4)]
for thread in threads:
    thread.start()
middle = None
while time.time() < until:
    time.sleep(min(1, max(0.05, until - time.time())))
    if middle is None and time.time() > until - seconds / 2:
        middle = memory(pid) if pid else None
for thread in threads:
    thread.join()
with connect() as stream:
    alive = listed(exchange(stream, bodies[0])[1]) == expected[0]
latencies.sort()
at = lambda share: round(1000 * latencies[min(len(latencies) - 1, int(share * len(latencies)))], 3)
print(json.dumps({
    "requests": len(latencies), "per_second": round(len(latencies) / seconds, 1), "p50_ms": at(0.5), "p99_ms": at(0.99), "most_ms": at(1.0),
    "statuses": {str(status): count for status, count in statuses.items()}, "wrong": wrong[:3], "alive": alive,
    "memory_mb": {"start": start_memory, "middle": middle, "end": memory(pid) if pid and alive else None},
}, indent=2))
sys.exit(0 if alive and not wrong else 1)
