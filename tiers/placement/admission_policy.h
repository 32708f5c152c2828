// An AdmissionPolicy says which blocks that leave memory are worth writing to
// the SSD. Most blocks are never asked for again, and each costs a write; which
// ones, nobody knows for sure.
//
// Threads: thread-safe.
// Cost:    nothing but the comparison.
#pragma once

#include <cstdint>
#include <memory>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace banyan::tiers {

// A block that is about to leave memory.
struct LeavingBlock {
  uint32_t touches = 0;  // Times it was written or asked for.
  uint32_t depth = 0;    // Position in its chain.
};

class AdmissionPolicy {
 public:
  virtual ~AdmissionPolicy() = default;

  // Name as in the flag --ssd-admission.
  virtual absl::string_view name() const = 0;

  virtual bool Admits(const LeavingBlock& block) const = 0;
};

// "all": every block. "touched": those that were asked for at least once since
// they were written. "none": no block; durable writes still go there.
// Errors: kInvalidArgument with the known names.
absl::StatusOr<std::unique_ptr<AdmissionPolicy>> MakeAdmissionPolicy(
    absl::string_view name);

}  // namespace banyan::tiers
