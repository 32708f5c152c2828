// K1, K2, K3: moving tokens between the pages of an engine and blocks on the
// host, one thread, ÷ memcpy of as many bytes.
//
// K1  gather of pages that are laid out as blocks are (nhd)
// K2  the same into blocks with tokens and heads the other way round (hnd)
// K3  scatter of such blocks into pages
//
// Llama-3.1-8B in bf16: a block is 16 tokens, 2 MiB, in 32 layers; a page has 16
// tokens of one layer, [2, pages, 16, 8, 128]. Pages are taken in random order
// from pools of 256 MiB in all, more than the caches hold; blocks go round
// through 32 MiB. memcpy walks over the same memory, a block at a time.
#include <algorithm>
#include <cstring>
#include <iostream>
#include <numeric>
#include <random>
#include <vector>

#include "base/check.h"
#include "kernels/layout/gather_blocks.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/timing.h"

namespace banyan::bench {
namespace {

using layout::Direction;

constexpr uint32_t kLayers = 32;
constexpr uint32_t kRingBlocks = 16;

KvLayout BlockLayout(TokenOrder order) {
  return *KvLayout::Make({.order = order,
                          .element_bytes = 2,
                          .layers = kLayers,
                          .planes = 2,
                          .block_tokens = 16,
                          .kv_heads = 8,
                          .head_dim = 128});
}

class Pages {
 public:
  explicit Pages(uint32_t pages)
      : layout_(*layout::PagedLayout::Make({.element_bytes = 2,
                                            .planes = 2,
                                            .pages = pages,
                                            .page_tokens = 16,
                                            .kv_heads = 8,
                                            .head_dim = 128})),
        bytes_(kLayers * layout_.pool_bytes(), std::byte{1}),
        ring_(kRingBlocks * BlockLayout(TokenOrder::kNhd).block_bytes(),
              std::byte{2}),
        order_(pages) {
    for (uint32_t i = 0; i < kLayers; ++i) {
      const auto pool = absl::MakeSpan(bytes_).subspan(i * layout_.pool_bytes(),
                                                       layout_.pool_bytes());
      pools_.push_back(pool);
      const_pools_.push_back(pool);
    }
    std::iota(order_.begin(), order_.end(), 0);
    std::shuffle(order_.begin(), order_.end(), std::mt19937(1));
  }

  // GB/s, one block a call.
  double Move(Direction direction, TokenOrder order, double seconds) {
    const KvLayout block = BlockLayout(order);
    return Measure(seconds, [&](uint32_t page, absl::Span<std::byte> bytes) {
      const layout::MoveRequest request = {.pages = {&page, 1}};
      const absl::Status status =
          direction == Direction::kGather
              ? GatherBlocks(block, layout_, request, const_pools_, bytes)
              : ScatterBlocks(block, layout_, request, bytes, pools_);
      BANYAN_CHECK(status.ok());
    });
  }

  double Copy(double seconds) {
    return Measure(seconds, [&](uint32_t page, absl::Span<std::byte> bytes) {
      std::memcpy(bytes.data(), bytes_.data() + page * bytes.size(),
                  bytes.size());
    });
  }

 private:
  template <class Move>
  double Measure(double seconds, const Move& move) {
    const uint64_t block_bytes = ring_.size() / kRingBlocks;
    const Timing timing = TimeCalls(seconds, [&] {
      move(order_[next_ % order_.size()],
           absl::MakeSpan(ring_).subspan(next_ % kRingBlocks * block_bytes,
                                         block_bytes));
      ++next_;
    });
    return timing.per_second() * static_cast<double>(block_bytes) / 1e9;
  }

  const layout::PagedLayout layout_;
  std::vector<std::byte> bytes_;
  std::vector<std::byte> ring_;
  std::vector<absl::Span<std::byte>> pools_;
  std::vector<absl::Span<const std::byte>> const_pools_;
  std::vector<uint32_t> order_;
  uint64_t next_ = 0;
};

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) {
  using namespace banyan::bench;
  using banyan::TokenOrder;
  using banyan::layout::Direction;
  const Arguments arguments = ParseArguments(argc, argv);
  const double seconds = arguments.seconds();
  Pages pages(arguments.is_tiny ? 4 : 128);
  const Side copy = {.name = "memcpy", .unit = "GB/s", .measure = [&] {
                       return pages.Copy(seconds);
                     }};
  nlohmann::ordered_json all;
  const auto add = [&](const Target& target, Direction direction,
                       TokenOrder order) {
    all.update(Compare(
        target, arguments,
        {.name = "pages and blocks",
         .unit = "GB/s",
         .measure = [&] { return pages.Move(direction, order, seconds); }},
        copy, {}));
  };
  add({.id = "K1",
       .what = "gather of nhd pages into nhd blocks / memcpy",
       .unit = "ratio",
       .floor = 0.6,
       .goal = 1.0},
      Direction::kGather, TokenOrder::kNhd);
  add({.id = "K2",
       .what = "gather of nhd pages into hnd blocks / memcpy",
       .unit = "ratio",
       .floor = 0.3,
       .goal = 0.8},
      Direction::kGather, TokenOrder::kHnd);
  add({.id = "K3",
       .what = "scatter of hnd blocks into nhd pages / memcpy",
       .unit = "ratio",
       .floor = 0.3,
       .goal = 0.8},
      Direction::kScatter, TokenOrder::kHnd);
  std::cout << all.dump() << "\n";
  return 0;
}
