"""One door of a Mooncake Store, as a peer of the benches.

usage: mooncake_peer.py shm|tcp BLOCK_BYTES BLOCKS VENV

Starts a master and what serves the blocks, fills it, and says "ready PID...": the
processes whose time counts as the server's. Then, for each line "get BATCH
SECONDS", "get_ends BATCH SECONDS" or "exists KEYS SECONDS", does that for so long
and answers with a line of JSON: {"calls", "seconds", "us": median of a call}. Of
each block that came all bytes are verified with XXH3, or the ends are compared with
what was put. Ends with its input.

shm  a `mooncake_client` owns the memory, this process shares it (`setup_dummy`),
     and buffers come from that memory: the documented way without copies.
tcp  a `mooncake_client` owns the memory, this process reads it over TCP.

Runs with the Python of VENV, which holds mooncake-transfer-engine-non-cuda.
"""

import ctypes
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path

SLACK_BYTES = 512 << 20
BATCH_MAX = 16
# Of its versions the one for the widest vectors that this processor has.
XXH3 = ctypes.CDLL("libxxhash.so.0").XXH3_64bits_dispatch
XXH3.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
XXH3.restype = ctypes.c_uint64
LEASE_MS = 600_000  # Longer than a run: no round trip to renew.


def die_with_parent():
    """In a child, before its program: however this process ends, so does that."""
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


def wait_for(port, process):
    for _ in range(300):
        if process.poll() is not None:
            raise SystemExit(f"mooncake: {process.args[0]} has ended.")
        with socket.socket() as sock:
            if sock.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.1)
    raise SystemExit(f"mooncake: {process.args[0]} does not listen.")


class Servers:
    """A master and the client that owns the memory."""

    def __init__(self, venv, capacity):
        self.master_port = free_port()
        self.client_port = free_port()
        libraries = next(Path(venv).glob(
            "lib/python3*/site-packages/nvidia/cuda_runtime/lib"))
        # The wheel is linked with CUDA's runtime, also where there is no GPU.
        ctypes.CDLL(str(libraries / "libcudart.so.12"), mode=ctypes.RTLD_GLOBAL)
        self.environment = dict(
            os.environ, LD_LIBRARY_PATH=str(libraries), MC_LOG_LEVEL="ERROR",
            MC_TCP_ENABLE_CONNECTION_POOL="1", GLOG_minloglevel="2")
        os.environ.update(self.environment)
        self.log = tempfile.TemporaryFile()
        self.processes = []
        programs = Path(venv) / "bin"
        self.start(programs / "mooncake_master",
                   f"--rpc_port={self.master_port}",
                   f"--metrics_port={free_port()}",
                   f"--default_kv_lease_ttl={LEASE_MS}",
                   wait=self.master_port)
        self.start(programs / "mooncake_client", "--host=127.0.0.1",
                   f"--port={self.client_port}", "--protocol=tcp",
                   "--metadata_server=P2PHANDSHAKE",
                   f"--master_server_address=127.0.0.1:{self.master_port}",
                   f"--global_segment_size={capacity}", "--threads=2",
                   wait=self.client_port)

    def start(self, program, *flags, wait):
        process = subprocess.Popen(
            [str(program), *flags], env=self.environment, stdout=self.log,
            stderr=self.log, stdin=subprocess.DEVNULL,
            preexec_fn=die_with_parent)
        self.processes.append(process)
        wait_for(wait, process)

    def pids(self):
        """Theirs and those that their start scripts began."""
        found = []
        for process in self.processes:
            children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
            found += [process.pid, *map(int, children.read_text().split())]
        return found

    def stop(self):
        for pid in self.pids():
            os.kill(pid, 9)
        for process in self.processes:
            process.wait()


def connect(door, servers, room):
    """A store, the address of a buffer for it, and what keeps that alive."""
    from mooncake.store import MooncakeDistributedStore
    store = MooncakeDistributedStore()
    if door == "shm":
        check(store.setup_dummy(room + SLACK_BYTES, 16 << 20,
                                f"127.0.0.1:{servers.client_port}"))
        buffer = store.alloc_from_mem_pool(room)
        if buffer == 0:
            raise SystemExit("mooncake: no room in its pool.")
        check(store.register_buffer(buffer, room))
        return store, buffer, None
    check(store.setup("127.0.0.1", "P2PHANDSHAKE", 0, 16 << 20, "tcp", "",
                      f"127.0.0.1:{servers.master_port}"))
    memory = ctypes.create_string_buffer(room)
    check(store.register_buffer(ctypes.addressof(memory), room))
    return store, ctypes.addressof(memory), memory


def check(code):
    if code != 0:
        raise SystemExit(f"mooncake: error {code}.")


class Peer:
    def __init__(self, store, buffer, block_bytes, blocks):
        self.store = store
        self.buffer = buffer
        self.block_bytes = block_bytes
        self.keys = [f"block-{i}" for i in range(blocks)]
        self.sums = []
        self.asked = []
        self.next = 0
        for i, key in enumerate(self.keys):
            ctypes.memmove(buffer, self.payload(i), block_bytes)
            self.sums.append(XXH3(buffer, block_bytes))
            check(store.put_from(key, buffer, block_bytes))

    def payload(self, i):
        """Says of every 64 bytes whose they are."""
        return b"".join((i << 32 | at).to_bytes(8, "little") * 8
                        for at in range(0, self.block_bytes // 8, 8))

    def is_right(self, slot, i):
        at = self.buffer + slot * self.block_bytes
        return XXH3(at, self.block_bytes) == self.sums[i]

    def has_right_ends(self, slot, i):
        at = self.buffer + slot * self.block_bytes
        size = self.block_bytes
        return (ctypes.string_at(at, 8) == (i << 32).to_bytes(8, "little") and
                ctypes.string_at(at + size - 8, 8) ==
                (i << 32 | (size // 8 - 8)).to_bytes(8, "little"))

    def get(self, batch):
        self.check_get(batch, self.is_right)

    def get_ends(self, batch):
        self.check_get(batch, self.has_right_ends)

    def check_get(self, batch, is_right):
        first = self.next
        self.next = (self.next + batch) % len(self.keys)
        order = [(first + k) % len(self.keys) for k in range(batch)]
        if batch == 1:
            got = [self.store.get_into(self.keys[order[0]], self.buffer,
                                       self.block_bytes)]
        else:
            got = self.store.batch_get_into(
                [self.keys[i] for i in order],
                [self.buffer + k * self.block_bytes for k in range(batch)],
                [self.block_bytes] * batch)
        if any(n != self.block_bytes for n in got):
            raise SystemExit(f"mooncake: get answered {got}.")
        if not all(is_right(k, i) for k, i in enumerate(order)):
            raise SystemExit("mooncake: wrong bytes.")

    def exists(self, count):
        if len(self.asked) != count:  # In the first, uncounted run.
            self.asked = [self.keys[i % len(self.keys)] for i in range(count)]
        if any(found != 1 for found in self.store.batch_is_exist(self.asked)):
            raise SystemExit("mooncake: a key is missing.")

    def run(self, what, count, seconds):
        call = {"get": self.get, "get_ends": self.get_ends,
                "exists": self.exists}[what]
        us = []
        start = time.perf_counter()
        end = start
        while end - start < seconds:
            before = end
            call(count)
            end = time.perf_counter()
            us.append((end - before) * 1e6)
        return {"calls": len(us), "seconds": end - start,
                "us": statistics.median(us)}


def main(door, block_bytes, blocks, venv):
    servers = Servers(venv, block_bytes * blocks + SLACK_BYTES)
    try:
        room = BATCH_MAX * block_bytes
        store, buffer, _memory = connect(door, servers, room)
        peer = Peer(store, buffer, block_bytes, blocks)
        print("ready", *servers.pids(), flush=True)
        for line in sys.stdin:
            what, count, seconds = line.split()
            print(json.dumps(peer.run(what, int(count), float(seconds))),
                  flush=True)
    except Exception:  # What follows would leave it unsaid.
        traceback.print_exc()
    finally:
        servers.stop()
        os._exit(0)  # Its threads do not end.


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4])
