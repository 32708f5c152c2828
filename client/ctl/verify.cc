#include "client/ctl/verify.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/units.h"
#include "client/ctl/exit_code.h"
#include "tiers/io/file.h"
#include "tiers/ssd/verify.h"

namespace banyan::ctl {
namespace {

void PrintJson(const tiers::VerifyReport& report) {
  const nlohmann::ordered_json json = {
      {"sound", report.is_sound()},
      {"node_id", report.node_id},
      {"segments", report.segments},
      {"segments_unreadable", report.segments_unreadable},
      {"records", report.records},
      {"records_damaged", report.records_damaged},
      {"headers_damaged", report.headers_damaged},
      {"read_bytes", report.read_bytes},
      {"skipped_bytes", report.skipped_bytes},
      {"has_catalogue", report.has_catalogue},
      {"rows", report.rows},
      {"rows_damaged", report.rows_damaged},
      {"records_without_row", report.records_without_row},
      {"findings", report.findings}};
  std::printf("%s\n", json.dump(2).c_str());
}

void PrintText(const tiers::VerifyReport& report) {
  const auto line = [](const char* name, uint64_t count) {
    std::printf("%-28s %lu\n", name, static_cast<unsigned long>(count));
  };
  std::printf("%-28s %s\n", "node", report.node_id.c_str());
  line("segments", report.segments);
  line("segments unreadable", report.segments_unreadable);
  line("records", report.records);
  line("records damaged", report.records_damaged);
  line("headers damaged", report.headers_damaged);
  line("records without row", report.records_without_row);
  if (report.has_catalogue) {
    line("catalogue rows", report.rows);
    line("catalogue rows damaged", report.rows_damaged);
  }
  std::printf("%-28s %s\n", "read", FormatBytes(report.read_bytes).c_str());
  for (const std::string& finding : report.findings) {
    std::printf("  %s\n", finding.c_str());
  }
  std::printf("%s\n", report.is_sound()
                          ? "sound"
                          : "damaged: the node drops these blocks by itself");
}

}  // namespace

int VerifySsdDirectory(const std::string& path, bool is_json) {
  const auto report =
      tiers::VerifyDirectory(path, tiers::FileSystem::Machine());
  if (!report.ok()) return Report(report.status());
  if (is_json) {
    PrintJson(*report);
  } else {
    PrintText(*report);
  }
  return report->is_sound() ? kExitOk : kExitIntegrity;
}

}  // namespace banyan::ctl
