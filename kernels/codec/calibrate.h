// Makes the calibration of a model from blocks of it: add layers of a few tens
// of thousands of tokens of text like that to be served, then Finish.
//
// Ranges are those of all but the 1 % furthest out, of each channel over all
// tokens, or of each token. Levels are the k-means of what is in range, over
// its range, weighted by how much an error costs: the squared gradient of the
// loss (its Fisher information) times the squared scale. Without gradients,
// elements weigh alike but for their scale.
//
// For weighted cold, see cold_basis.h: a layer's keys and values share their
// bits, so that an error in any component of either costs alike.
//
// Source:  KVQuant, NeurIPS 2024 (arXiv 2401.18079), section 3 and appendix E.
// Threads: thread-compatible.
// Cost:    keeps all elements added: 4 bytes each, 8 with weights.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/types/span.h"
#include "base/kv_layout.h"
#include "kernels/codec/calibration.h"
#include "kernels/codec/cold_basis.h"
#include "kernels/codec/plane.h"
#include "kernels/codec/rope.h"

namespace banyan::codec {

class Calibrator {
 public:
  struct Options {
    BlockSpec spec;  // Its first sink_tokens of a sequence are left out.
    KvLayout layout;
    ElementType type = ElementType::kFp16;
    std::optional<RopeSpec> rope;
    uint32_t layers = 0;
  };

  // Errors: kInvalidArgument reason CODEC, ROPE or CALIBRATION: nothing there
  // to calibrate, or not for such layers.
  static absl::StatusOr<std::unique_ptr<Calibrator>> Make(
      const Options& options);
  ~Calibrator();

  // Adds a layer of a block that begins at this position. `weights` is empty,
  // or has a number, 0 or more, for every element in the order [plane, token,
  // head, element], and `gradients` the gradient of the loss in each, of keys as
  // they are encoded: nuq takes weights, weighted cold gradients.
  //
  // Errors: kInvalidArgument reason CALIBRATION: another size, no such layer,
  // or no such weights; kFailedPrecondition reason VALUE: not finite.
  absl::Status Add(uint32_t layer, uint64_t first_position,
                   absl::Span<const std::byte> bytes,
                   absl::Span<const float> weights = {},
                   absl::Span<const float> gradients = {});

  // Errors: kFailedPrecondition reason CALIBRATION: a layer without tokens.
  absl::StatusOr<Calibration> Finish() const;

 private:
  struct Samples;

  explicit Calibrator(const Options& options);

  absl::Status FillCold(uint32_t layer, Calibration::Layer& tables) const;

  Calibration::Shape shape_;
  Options options_;
  std::unique_ptr<Rope> rope_;
  RopeTable table_;
  std::vector<Samples> samples_;      // [layer, plane], of nuq.
  std::vector<ColdMoments> moments_;  // [layer, plane], of weighted cold.
};

}  // namespace banyan::codec
