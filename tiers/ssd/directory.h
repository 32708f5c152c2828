// A directory of an SSD tier belongs to one node: a lock file that names the
// process, and a label that names node, format and place. Every start counts up
// the label's boot number, which is the high part of all generations.
//
// Errors: kFailedPrecondition  locked by another process, or of another node
//                              or format; ErrorReason is DIRECTORY_LOCKED or
//                              DIRECTORY_FOREIGN
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "tiers/io/file.h"

namespace banyan::tiers {

// A generation is a boot number, then a count in that boot.
inline constexpr int kGenerationBootShift = 40;
inline constexpr uint64_t kBootsMax = uint64_t{1} << 24;

struct DirectoryLabel {
  std::string node_id;
  uint32_t number = 0;  // Of this directory among the node's, from 0.
  uint32_t count = 0;   // Of directories of the node.
  uint64_t boot = 0;    // Starts so far.

  friend bool operator==(const DirectoryLabel&,
                         const DirectoryLabel&) = default;
};

// The label as text, and back. Errors: kDataLoss, or DIRECTORY_FOREIGN for
// another format.
std::string FormatLabel(const DirectoryLabel& label);
absl::StatusOr<DirectoryLabel> ParseLabel(const std::string& text);

class SsdDirectory {
 public:
  // Makes what is missing, takes the lock, and checks the label against `want`
  // (its boot is ignored). A damaged label is an error only if no segment can
  // tell more: it is written anew.
  static absl::StatusOr<std::unique_ptr<SsdDirectory>> Claim(
      FileSystem& file_system, const std::string& path,
      const DirectoryLabel& want);

  const std::string& path() const { return path_; }
  uint64_t boot() const { return boot_; }
  std::string SegmentPath(uint64_t segment_id) const;
  std::string segments_path() const { return path_ + "/segments"; }

  // Writes the label with this boot number.
  absl::Status SetBoot(uint64_t boot);

 private:
  SsdDirectory(FileSystem& file_system, std::string path, DirectoryLabel label,
               std::unique_ptr<FileLock> lock);

  FileSystem& file_system_;
  const std::string path_;
  DirectoryLabel label_;
  uint64_t boot_ = 0;
  const std::unique_ptr<FileLock> lock_;
};

// "0000000000000007.seg", and back; false for any other name.
std::string SegmentFileName(uint64_t segment_id);
bool ParseSegmentFileName(const std::string& name, uint64_t& segment_id);

}  // namespace banyan::tiers
