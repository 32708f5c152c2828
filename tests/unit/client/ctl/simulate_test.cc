// The report of `simulate` has its fixed fields, and its numbers hang together.
#include "client/ctl/simulate.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "base/error.h"
#include "client/ctl/bounds.h"

namespace banyan::ctl {
namespace {

using ::testing::HasSubstr;

std::vector<TraceRequest> SmallTrace() {
  std::vector<TraceRequest> trace;
  for (uint64_t i = 0; i < 300; ++i) {
    const uint64_t talk = i * 7 % 40;
    std::vector<uint64_t> blocks;
    for (uint64_t b = 0; b <= i / 40; ++b) blocks.push_back(talk * 100 + b);
    trace.push_back({.timestamp_ms = i * 1000, .blocks = blocks});
  }
  return trace;
}

absl::StatusOr<SimulationReport> RunSmall(const SimulateOptions& options) {
  return RunSimulations(SmallTrace(), options,
                        [](const std::string&, double) {});
}

TEST(SimulateTest, JsonHasTheFixedFieldsOfEachRow) {
  const auto report =
      RunSmall({.policies = {"lru", "hazard"}, .capacities_blocks = {20, 90}});
  ASSERT_TRUE(report.ok()) << report.status();
  const auto rows = nlohmann::json::parse(SimulationJson(*report));
  ASSERT_EQ(rows.size(), 4u);
  for (const auto& row : rows) {
    for (const char* field :
         {"policy", "capacity_blocks", "hit_ratio", "hit_ratio_lru",
          "hit_ratio_belady", "blocks_per_second", "gap_closed"}) {
      EXPECT_TRUE(row.contains(field)) << field;
    }
    EXPECT_LE(row["hit_ratio"], row["hit_ratio_belady"]);
    if (row["policy"] == "lru") {
      EXPECT_EQ(row["hit_ratio"], row["hit_ratio_lru"]);
    }
    EXPECT_EQ(
        row["hit_ratio_belady"],
        static_cast<double>(BeladyHits(SmallTrace(), row["capacity_blocks"])) /
            static_cast<double>(report->blocks_requested));
  }
}

TEST(SimulateTest, PageIsSelfContainedAndNamesEachLine) {
  const auto report =
      RunSmall({.policies = {"lru", "arc"}, .capacities_blocks = {20, 90}});
  ASSERT_TRUE(report.ok());
  const std::string html = SimulationHtml(*report);
  for (const char* text :
       {"<svg", ">lru<", ">arc<", ">Belady<", ">infinite<"}) {
    EXPECT_THAT(html, HasSubstr(text));
  }
  for (const char* text : {"<script", "http://", "https://", "src="}) {
    EXPECT_THAT(html, ::testing::Not(HasSubstr(text)));
  }
}

TEST(SimulateTest, OptionsAreChecked) {
  EXPECT_EQ(
      ErrorReason(
          RunSmall({.policies = {"fifo"}, .capacities_blocks = {1}}).status()),
      "EVICTION");
  const SimulateOptions bad[] = {
      {.capacities_blocks = {1}},
      {.policies = {"lru"}},
      {.policies = {"lru"}, .capacities_blocks = {0}},
      {.policies = {"lru"}, .capacities_blocks = {1}, .hints = {.told = 1.5}}};
  for (const SimulateOptions& options : bad) {
    EXPECT_EQ(ErrorReason(RunSmall(options).status()), "SIMULATE");
  }
}

TEST(SimulateTest, FilesFollowOneAnother) {
  std::vector<TraceRequest> trace;
  AppendTrace({{.timestamp_ms = 5}, {.timestamp_ms = 9}}, trace);
  AppendTrace({{.timestamp_ms = 20}}, trace);
  AppendTrace({{.timestamp_ms = 1}, {.timestamp_ms = 3}}, trace);
  std::vector<uint64_t> times;
  for (const TraceRequest& request : trace) {
    times.push_back(request.timestamp_ms);
  }
  EXPECT_THAT(times, ::testing::ElementsAre(5, 9, 20, 20, 22));
}

}  // namespace
}  // namespace banyan::ctl
