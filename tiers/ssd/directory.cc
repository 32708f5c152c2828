#include "tiers/ssd/directory.h"

#include <utility>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_split.h"
#include "base/bytes.h"
#include "base/checksum.h"
#include "base/error.h"
#include "base/status_macros.h"
#include "tiers/ssd/segment_format.h"

namespace banyan::tiers {
namespace {

constexpr uint64_t kLabelSeed = 0x62616e79616e6c62;  // "banyanlb".
constexpr absl::string_view kTitle = "banyan ssd directory";
constexpr absl::string_view kSuffix = ".seg";

absl::Status Foreign(const std::string& what) {
  return MakeError(absl::StatusCode::kFailedPrecondition, "DIRECTORY_FOREIGN",
                   what);
}

absl::Status Damaged() {
  return MakeError(absl::StatusCode::kDataLoss, "HEADER",
                   "ssd: directory label is damaged");
}

std::string Sum(absl::string_view text) {
  return ToHex(Xxh3_128(AsBytes(text), kLabelSeed));
}

// The value of a line "name value".
bool Field(absl::string_view line, absl::string_view name,
           absl::string_view& value) {
  if (!absl::StartsWith(line, absl::StrCat(name, " "))) return false;
  value = line.substr(name.size() + 1);
  return true;
}

}  // namespace

std::string FormatLabel(const DirectoryLabel& label) {
  std::string text =
      absl::StrCat(kTitle, "\nformat ", kSsdFormat, "\nnode ",
                   absl::CEscape(label.node_id), "\ndirectory ", label.number,
                   "\ncount ", label.count, "\nboot ", label.boot, "\n");
  absl::StrAppend(&text, "checksum ", Sum(text), "\n");
  return text;
}

absl::StatusOr<DirectoryLabel> ParseLabel(const std::string& text) {
  const std::vector<absl::string_view> lines = absl::StrSplit(text, '\n');
  if (lines.size() < 3 || lines[0] != kTitle) return Damaged();
  absl::string_view format, node, number, count, boot, sum;
  if (!Field(lines[1], "format", format)) return Damaged();
  if (format != absl::StrCat(kSsdFormat)) {
    return Foreign(absl::StrCat("data dir has format ", Echo(format),
                                "; this program knows format ", kSsdFormat,
                                "."));
  }
  const size_t body = text.rfind("checksum ");
  DirectoryLabel label;
  if (lines.size() != 8 || !Field(lines[2], "node", node) ||
      !Field(lines[3], "directory", number) ||
      !Field(lines[4], "count", count) || !Field(lines[5], "boot", boot) ||
      !Field(lines[6], "checksum", sum) || !lines[7].empty() ||
      sum != Sum(absl::string_view(text).substr(0, body)) ||
      !absl::CUnescape(node, &label.node_id) ||
      !absl::SimpleAtoi(number, &label.number) ||
      !absl::SimpleAtoi(count, &label.count) ||
      !absl::SimpleAtoi(boot, &label.boot)) {
    return Damaged();
  }
  return label;
}

std::string SegmentFileName(uint64_t segment_id) {
  return absl::StrFormat("%016x%s", segment_id, kSuffix);
}

bool ParseSegmentFileName(const std::string& name, uint64_t& segment_id) {
  return name.size() == 16 + kSuffix.size() && absl::EndsWith(name, kSuffix) &&
         absl::SimpleHexAtoi(name.substr(0, 16), &segment_id) &&
         SegmentFileName(segment_id) == name;
}

SsdDirectory::SsdDirectory(FileSystem& file_system, std::string path,
                           DirectoryLabel label, std::unique_ptr<FileLock> lock)
    : file_system_(file_system),
      path_(std::move(path)),
      label_(std::move(label)),
      lock_(std::move(lock)) {}

std::string SsdDirectory::SegmentPath(uint64_t segment_id) const {
  return absl::StrCat(segments_path(), "/", SegmentFileName(segment_id));
}

absl::StatusOr<std::unique_ptr<SsdDirectory>> SsdDirectory::Claim(
    FileSystem& file_system, const std::string& path,
    const DirectoryLabel& want) {
  BANYAN_RETURN_IF_ERROR(file_system.CreateDirectories(path + "/segments"));
  BANYAN_ASSIGN_OR_RETURN(std::unique_ptr<FileLock> lock,
                          file_system.Lock(path + "/lock"));
  auto directory = std::unique_ptr<SsdDirectory>(
      new SsdDirectory(file_system, path, want, std::move(lock)));
  const auto text = file_system.ReadSmall(path + "/label");
  if (absl::IsNotFound(text.status())) return directory;
  BANYAN_RETURN_IF_ERROR(text.status());
  const auto label = ParseLabel(*text);
  if (absl::IsDataLoss(label.status())) return directory;
  BANYAN_RETURN_IF_ERROR(label.status());
  if (label->node_id != want.node_id) {
    return Foreign(absl::StrCat(
        "data dir belongs to ", Echo(label->node_id), " (format ", kSsdFormat,
        "); this is ", Echo(want.node_id), " (format ", kSsdFormat, ")."));
  }
  if (label->number != want.number || label->count != want.count) {
    return Foreign(absl::StrCat("data dir ", path, " is number ", label->number,
                                " of ", label->count, "; it is configured as ",
                                want.number, " of ", want.count,
                                ". List the directories as before."));
  }
  directory->boot_ = label->boot;
  return directory;
}

absl::Status SsdDirectory::SetBoot(uint64_t boot) {
  boot_ = boot;
  label_.boot = boot;
  return file_system_.WriteSmall(path_ + "/label", FormatLabel(label_));
}

}  // namespace banyan::tiers
