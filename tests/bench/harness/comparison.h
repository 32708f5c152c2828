// Two sides measured in turns (A, B, A, B, ...), so that a noisy stretch hits
// both, and the JSON that a bench prints: one object by target id, in the shape
// that `dev bench` judges.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "nlohmann/json.hpp"
#include "tests/bench/harness/arguments.h"

namespace banyan::bench {

// A target of ours: what value is wanted, and what must never be missed.
struct Target {
  std::string id;
  std::string what;
  std::string unit;
  double floor = 0;
  double goal = 0;
  std::string better = "higher";  // Or "lower".
};

// One thing to measure. `measure` runs for about Arguments::seconds and returns
// the value in `unit`.
struct Side {
  std::string name;
  std::string unit;
  std::function<double()> measure;
};

double Median(std::vector<double> values);

// What `measure` returns, so often.
template <typename Measure>
std::vector<double> Repeat(int repeats, const Measure& measure) {
  std::vector<double> values;
  for (int i = 0; i < repeats; ++i) values.push_back(measure());
  return values;
}

// {id: {value, unit, floor, goal, better, repeats, min, max, what}} of values
// measured by the caller.
nlohmann::ordered_json ResultJson(const Target& target,
                                  const std::vector<double>& values);

// Runs both sides once to warm up, then in turns, and takes A / B of each turn.
// Adds to the JSON the values of both sides and what other processes used of
// the processor in each turn; `children` are processes that are not others.
nlohmann::ordered_json Compare(const Target& target, const Arguments& arguments,
                               const Side& a, const Side& b,
                               const std::vector<pid_t>& children);

}  // namespace banyan::bench
