#!/usr/bin/env python3
"""N1 to N4: a node and a client on two hosts, as far as one machine has two: two
network namespaces, a pair of virtual interfaces, each capped at 1 Gb/s.

N1  get of 2 MiB blocks over UCX ÷ what iperf3 moves the same way
N2  the same over gRPC
N3  put over UCX
N4  put over gRPC

usage: network_bench.py [--repeats N] [--tiny] [--bin-dir DIR]. Needs root, ip, tc
and iperf3. Prints one JSON object by target id. Python's standard library only.
"""

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
import time

RATE = "1gbit"
NODE, CLIENT = f"banyan-node-{os.getpid()}", f"banyan-client-{os.getpid()}"
NODE_IP, CLIENT_IP = "10.213.77.1", "10.213.77.2"
BLOCKS = 128  # Of 2 MiB: two seconds of this link.
TARGETS = {
    "N1": ("ucx", "get", "UCX get of 2 MiB blocks / iperf3, 1 Gb/s"),
    "N2": ("grpc", "get", "gRPC get of 2 MiB blocks / iperf3, 1 Gb/s"),
    "N3": ("ucx", "put", "UCX put of 2 MiB blocks / iperf3, 1 Gb/s"),
    "N4": ("grpc", "put", "gRPC put of 2 MiB blocks / iperf3, 1 Gb/s"),
}


def run(*command, **options):
    try:
        return subprocess.run(command, check=True, text=True,
                              capture_output=True, **options).stdout
    except FileNotFoundError:
        sys.exit(f"network bench: no {command[0]}. Install iproute2, iperf3.")
    except subprocess.CalledProcessError as error:
        sys.exit(f"network bench: {' '.join(command)}: "
                 f"{error.stderr.strip() or error.stdout.strip()}")


def inside(name, *command):
    return ("ip", "netns", "exec", name, *command)


@contextlib.contextmanager
def two_hosts():
    if os.geteuid() != 0:
        sys.exit("network bench: needs root, for network namespaces.")
    try:
        for name in (NODE, CLIENT):
            run("ip", "netns", "add", name)
        run("ip", "link", "add", "bench0", "netns", NODE, "type", "veth",
            "peer", "name", "bench0", "netns", CLIENT)
        for name, address in ((NODE, NODE_IP), (CLIENT, CLIENT_IP)):
            run(*inside(name, "ip", "address", "add", f"{address}/24", "dev",
                        "bench0"))
            for device in ("lo", "bench0"):
                run(*inside(name, "ip", "link", "set", device, "up"))
            run(*inside(name, "tc", "qdisc", "add", "dev", "bench0", "root",
                        "tbf", "rate", RATE, "burst", "256kb", "latency",
                        "20ms"))
        yield
    finally:
        for name in (NODE, CLIENT):
            subprocess.run(("ip", "netns", "delete", name), check=False,
                           stderr=subprocess.DEVNULL)


@contextlib.contextmanager
def started(*command, **options):
    process = subprocess.Popen(command, text=True, **options)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


@contextlib.contextmanager
def node(bin_dir):
    """The endpoint of a node. LRU: every block is to be kept."""
    with started(*inside(NODE, f"{bin_dir}/banyan-server", "--dev", "--bind",
                         NODE_IP, "--insecure-i-understand", "--grpc-port", "0",
                         "--eviction", "lru",
                         "--host-bytes", "768MiB"),
                 stdout=subprocess.PIPE) as process:
        ready = process.stdout.readline()
        if not ready.startswith("READY grpc="):
            sys.exit("network bench: the node did not start.")
        yield ready.split()[1].removeprefix("grpc=")


@contextlib.contextmanager
def iperf_server():
    with started(*inside(NODE, "iperf3", "-s"), stdout=subprocess.DEVNULL,
                 stderr=subprocess.DEVNULL):
        time.sleep(0.5)  # It does not say when it listens.
        yield


def iperf_gb_per_s(seconds, call):
    """From the node for a get, to it for a put."""
    command = ["iperf3", "-c", NODE_IP, "-J", "-t", str(seconds)]
    answer = json.loads(run(*inside(
        CLIENT, *command, *(["-R"] if call == "get" else []))))
    return answer["end"]["sum_received"]["bits_per_second"] / 8e9


def banyan_gb_per_s(bin_dir, endpoint, transport, seconds, blocks):
    """By call."""
    report = json.loads(run(*inside(
        CLIENT, f"{bin_dir}/banyanctl", "--server", endpoint, "--transport",
        transport, "bench", "-o", "json", "--seconds", str(seconds),
        "--blocks", str(blocks), "--threads", "2")))
    if report["wrong_blocks"] or report["errors"] or report["missed_blocks"]:
        sys.exit(f"network bench: a faulty run: {report}")
    return {call: report[call]["wall_gb_per_second"] for call in ("get", "put")}


def measure(arguments):
    seconds = 1 if arguments.tiny else 4
    ratios = {target: [] for target in TARGETS}
    with two_hosts(), node(arguments.bin_dir) as endpoint, iperf_server():
        for _ in range(arguments.repeats):
            link = {call: iperf_gb_per_s(seconds, call)
                    for call in ("get", "put")}
            for transport in ("ucx", "grpc"):
                rates = banyan_gb_per_s(arguments.bin_dir, endpoint, transport,
                                        3 * seconds,
                                        16 if arguments.tiny else BLOCKS)
                for target, (door, call, _) in TARGETS.items():
                    if door == transport:
                        ratios[target].append(rates[call] / link[call])
    return ratios


def main(argv):
    parser = argparse.ArgumentParser(prog="network_bench.py")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--bin-dir", default="build/release/bin")
    arguments = parser.parse_args(argv)
    if arguments.tiny:
        arguments.repeats = 1
    results = {
        target: {"value": statistics.median(values), "unit": "ratio",
                 "floor": 0.90, "goal": 0.95, "better": "higher",
                 "repeats": values, "min": min(values), "max": max(values),
                 "what": TARGETS[target][2]}
        for target, values in measure(arguments).items()}
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
