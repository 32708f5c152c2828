#include "tests/testing/simt/warp_result.h"

#include <algorithm>
#include <bit>

#include "absl/strings/str_cat.h"

namespace banyan::simt {
namespace {

bool IsIn(uint32_t mask, unsigned lane) { return (mask >> lane & 1) != 0; }

uint64_t Combine(WarpOp op, uint64_t a, uint64_t b) {
  const auto a_signed = static_cast<int64_t>(a);
  const auto b_signed = static_cast<int64_t>(b);
  switch (op) {
    case WarpOp::kAdd:
      return a + b;
    case WarpOp::kMin:
      return std::min(a, b);
    case WarpOp::kMax:
      return std::max(a, b);
    case WarpOp::kSignedMin:
      return static_cast<uint64_t>(std::min(a_signed, b_signed));
    case WarpOp::kSignedMax:
      return static_cast<uint64_t>(std::max(a_signed, b_signed));
    case WarpOp::kAnd:
      return a & b;
    case WarpOp::kXor:
      return a ^ b;
    case WarpOp::kOr:
    case WarpOp::kBallot:
      return a | b;
    case WarpOp::kSync:
    case WarpOp::kShuffle:
    case WarpOp::kMatch:
      return a;
  }
  return a;
}

uint64_t Contribution(const GpuThread& thread) {
  if (thread.op != WarpOp::kBallot) return thread.value;
  return uint64_t{thread.value != 0} << thread.lane;
}

std::string Meeting(const GpuThread& a, const GpuThread& b) {
  return absl::StrCat("warp divergence: ", NameOf(b.op), " at ", b.site.Text(),
                      " meets ", NameOf(a.op), " at ", a.site.Text());
}

uint64_t LanesOfEqualValue(absl::Span<const GpuThread> warp, uint32_t mask,
                           uint64_t value) {
  uint64_t lanes = 0;
  for (unsigned i = 0; i < warp.size(); ++i) {
    if (IsIn(mask, i) && warp[i].value == value) lanes |= uint64_t{1} << i;
  }
  return lanes;
}

}  // namespace

const char* NameOf(WarpOp op) {
  constexpr const char* kNames[] = {"syncwarp",   "shuffle",    "vote",
                                    "match",      "reduce_add", "reduce_min",
                                    "reduce_max", "reduce_min", "reduce_max",
                                    "reduce_and", "reduce_or",  "reduce_xor"};
  return kNames[static_cast<size_t>(op)];
}

std::string ComputeWarpResults(absl::Span<GpuThread> warp, uint32_t mask) {
  const GpuThread& first = warp[static_cast<size_t>(std::countr_zero(mask))];
  uint64_t all = Contribution(first);
  for (unsigned i = first.lane + 1; i < warp.size(); ++i) {
    if (!IsIn(mask, i)) continue;
    if (warp[i].op != first.op || !(warp[i].site == first.site)) {
      return Meeting(first, warp[i]);
    }
    all = Combine(first.op, all, Contribution(warp[i]));
  }
  for (unsigned i = 0; i < warp.size(); ++i) {
    if (!IsIn(mask, i)) continue;
    GpuThread& lane = warp[i];
    lane.result = all;
    if (lane.op == WarpOp::kMatch) {
      lane.result = LanesOfEqualValue(warp, mask, lane.value);
    }
    if (lane.op != WarpOp::kShuffle) continue;
    if (!IsIn(mask, lane.source_lane)) {
      return absl::StrCat("shuffle: lane ", i, " reads lane ", lane.source_lane,
                          ", which takes no part, at ", lane.site.Text());
    }
    lane.result = warp[lane.source_lane].value;
  }
  return "";
}

}  // namespace banyan::simt
