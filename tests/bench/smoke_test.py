#!/usr/bin/env python3
"""Runs every bench of a target with tiny sizes and checks that what comes out
has the fixed shape. Times are not looked at: tiny runs say nothing of them.

usage: smoke_test.py BENCH_DIR
"""

import contextlib
import io
import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import run

NUMBERS = ("value", "floor", "goal")


def output_of(argv):
    """Exit code, standard output and standard error of a run."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            code = run.main(argv)
        except SystemExit as stopped:
            code = stopped.code
    return code, out.getvalue(), err.getvalue()


class RunTest(unittest.TestCase):
    bench_dir = ""

    def test_every_target_has_the_fixed_shape(self):
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "out.json"
            code, table, errors = output_of(
                ["--tiny", "--json", str(path), "--bench-dir", self.bench_dir])
            self.assertEqual(code, 0, errors)
            results = json.loads(path.read_text(encoding="utf-8"))
        built = [i for i, program in run.PROGRAMS.items()
                 if not run.is_absent(self.bench_dir, program)]
        self.assertEqual(list(results), built)
        for name, entry in results.items():
            with self.subTest(name):
                self.assertIn(f"\n{name} ", table)
                for key in NUMBERS:
                    self.assertIsInstance(entry[key], (int, float))
                self.assertGreater(entry["value"], 0)
                self.assertIsInstance(entry["unit"], str)
                self.assertIn(entry["better"], ("higher", "lower"))
                self.assertTrue(entry["repeats"])
                for value in entry["repeats"]:
                    self.assertIsInstance(value, (int, float))
                # The goal lies beyond the floor.
                self.assertEqual(entry["goal"] > entry["floor"],
                                 entry["better"] == "higher")

    def test_unknown_id_is_an_error_that_lists_the_known_ones(self):
        code, _, errors = output_of(["R5", "R99", "--check"])
        self.assertEqual(code, 2)
        self.assertIn("R99", errors)
        for name in run.PROGRAMS:
            self.assertIn(name, errors)

    def test_group_is_all_its_targets(self):
        self.assertEqual(run.parse_arguments(["network", "R5"]).ids,
                         ["N1", "N2", "N3", "N4", "R5"])

    def test_peers_without_mooncake_print_a_table_of_the_others(self):
        program = Path(self.bench_dir) / "peers_bench"
        if run.is_absent(self.bench_dir, program.name):
            self.skipTest("built without UCX")
        done = subprocess.run([program, "--tiny"], capture_output=True,
                              text=True, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(json.loads(done.stdout), {})
        for peer in ("memcpy", "Banyan, shared memory", "Banyan, UCX over TCP",
                     "Banyan, gRPC", "Redis, TCP", "raw Unix socket"):
            self.assertIn(f" {peer} ", done.stderr)

    def test_missing_program_is_a_failure(self):
        code, _, errors = output_of(
            ["R5", "--bench-dir", "/nonexistent", "--tiny"])
        self.assertEqual(code, 1)
        self.assertIn("grpc_get_bench", errors)

    def test_value_below_its_floor_is_missed(self):
        entry = {"value": 1.0, "floor": 0.5, "goal": 2.0, "better": "higher"}
        self.assertEqual(run.verdict(entry), "ok")
        self.assertEqual(run.verdict(entry | {"value": 0.4}), "MISSED")
        self.assertEqual(run.verdict(entry | {"value": 2.0}), "goal")
        entry = {"value": 1.0, "floor": 2.0, "goal": 0.5, "better": "lower"}
        self.assertEqual(run.verdict(entry), "ok")
        self.assertEqual(run.verdict(entry | {"value": 2.1}), "MISSED")
        self.assertEqual(run.verdict(entry | {"value": 0.5}), "goal")


if __name__ == "__main__":
    RunTest.bench_dir = sys.argv.pop(1)
    unittest.main()
