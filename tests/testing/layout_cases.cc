#include "tests/testing/layout_cases.h"

#include <algorithm>
#include <initializer_list>
#include <numeric>
#include <random>
#include <utility>

#include "absl/strings/str_cat.h"

namespace banyan::testing {
namespace {

using layout::Direction;
using layout::PagedLayout;
using layout::PlaneOrder;

constexpr TokenOrder kTokenOrders[] = {TokenOrder::kNhd, TokenOrder::kHnd};

// An axis of an array: its size, and an index into it.
struct Axis {
  uint64_t size;
  uint64_t index;
};

// Of an array in the order written, the last axis running fastest.
uint64_t RowMajor(std::initializer_list<Axis> axes) {
  uint64_t offset = 0;
  for (const Axis& axis : axes) offset = offset * axis.size + axis.index;
  return offset;
}

uint64_t OffsetInBlocks(const KvLayout::Shape& s, uint64_t block,
                        uint64_t layer, uint64_t plane, uint64_t token,
                        uint64_t head, uint64_t byte) {
  const uint64_t head_bytes = uint64_t{s.element_bytes} * s.head_dim;
  const Axis tokens = {s.block_tokens, token};
  const Axis heads = {s.kv_heads, head};
  const bool is_nhd = s.order == TokenOrder::kNhd;
  return RowMajor({{0, block},
                   {s.layers, layer},
                   {s.planes, plane},
                   is_nhd ? tokens : heads,
                   is_nhd ? heads : tokens,
                   {head_bytes, byte}});
}

uint64_t OffsetInPool(const PagedLayout::Shape& s, uint64_t page,
                      uint64_t plane, uint64_t slot, uint64_t head,
                      uint64_t byte) {
  const uint64_t head_bytes = uint64_t{s.element_bytes} * s.head_dim;
  const Axis pages = {s.pages, page};
  const Axis planes = {s.planes, plane};
  const Axis slots = {s.page_tokens, slot};
  const Axis heads = {s.kv_heads, head};
  const bool is_plane_first = s.plane_order == PlaneOrder::kPlaneFirst;
  const bool is_nhd = s.token_order == TokenOrder::kNhd;
  return RowMajor({is_plane_first ? planes : pages,
                   is_plane_first ? pages : planes,
                   is_nhd ? slots : heads,
                   is_nhd ? heads : slots,
                   {head_bytes, byte}});
}

LayoutCase Usual(TokenOrder block_order, TokenOrder paged_order,
                 PlaneOrder plane_order) {
  LayoutCase c;
  c.block = {.order = block_order,
             .element_bytes = 2,
             .layers = 2,
             .planes = 2,
             .block_tokens = 8,
             .kv_heads = 3,
             .head_dim = 16};
  c.paged = {.plane_order = plane_order,
             .token_order = paged_order,
             .element_bytes = 2,
             .planes = 2,
             .pages = 11,
             .page_tokens = 8,
             .kv_heads = 3,
             .head_dim = 16};
  c.blocks = 3;
  c.pools = 2;
  return c;
}

const char* NameOf(TokenOrder order) {
  return order == TokenOrder::kNhd ? "Nhd" : "Hnd";
}

std::vector<LayoutCase> AllOrders() {
  std::vector<LayoutCase> cases;
  for (const TokenOrder block : kTokenOrders) {
    for (const TokenOrder paged : kTokenOrders) {
      for (const PlaneOrder plane :
           {PlaneOrder::kPlaneFirst, PlaneOrder::kPageFirst}) {
        LayoutCase c = Usual(block, paged, plane);
        const char* const planes =
            plane == PlaneOrder::kPlaneFirst ? "PlaneFirst" : "PageFirst";
        c.name = absl::StrCat(NameOf(block), "With", NameOf(paged), planes);
        cases.push_back(c);
      }
    }
  }
  return cases;
}

LayoutCase Latent() {
  LayoutCase c =
      Usual(TokenOrder::kNhd, TokenOrder::kNhd, PlaneOrder::kPageFirst);
  c.name = "Latent";
  c.block.planes = c.paged.planes = 1;
  c.block.kv_heads = c.paged.kv_heads = 1;
  c.block.head_dim = c.paged.head_dim = 72;
  return c;
}

// A rank that has layers 1 and 2 of 4 and heads 2..4 of 6, and keeps them with
// others of its own.
LayoutCase Sliced(TokenOrder block, TokenOrder paged) {
  LayoutCase c = Usual(block, paged, PlaneOrder::kPlaneFirst);
  c.name = absl::StrCat("SliceOf", NameOf(block), "With", NameOf(paged));
  c.block.layers = 4;
  c.block.kv_heads = 6;
  c.paged.kv_heads = 4;
  c.pools = 5;
  c.slice = {.block_layer = 1,
             .pool_layer = 2,
             .layers = 2,
             .block_head = 2,
             .pool_head = 1,
             .heads = 3};
  return c;
}

LayoutCase PagesOf(uint32_t page_tokens, uint32_t first_slot,
                   const std::string& name) {
  LayoutCase c =
      Usual(TokenOrder::kHnd, TokenOrder::kNhd, PlaneOrder::kPageFirst);
  c.name = name;
  c.paged.page_tokens = page_tokens;
  c.first_slot = first_slot;
  return c;
}

LayoutCase Odd(uint32_t element_bytes, uint32_t head_dim) {
  LayoutCase c =
      Usual(TokenOrder::kHnd, TokenOrder::kHnd, PlaneOrder::kPageFirst);
  c.name = absl::StrCat("HeadsOf", element_bytes * head_dim, "Bytes");
  c.block.element_bytes = c.paged.element_bytes = element_bytes;
  c.block.head_dim = c.paged.head_dim = head_dim;
  return c;
}

}  // namespace

std::vector<LayoutCase> LayoutCases() {
  std::vector<LayoutCase> cases = AllOrders();
  cases.push_back(Latent());
  for (const TokenOrder block : kTokenOrders) {
    for (const TokenOrder paged : kTokenOrders) {
      cases.push_back(Sliced(block, paged));
    }
  }
  cases.push_back(PagesOf(3, 2, "PagesOfFewerTokens"));
  cases.push_back(PagesOf(20, 7, "PagesOfMoreTokens"));
  cases.push_back(Odd(1, 7));
  cases.push_back(Odd(4, 5));
  cases.push_back(Odd(4, 1));
  return cases;
}

MoveMemory MakeMoveMemory(const LayoutCase& c) {
  std::mt19937 random(17);
  const auto fill = [&random](uint64_t size) {
    std::vector<std::byte> bytes(size);
    for (std::byte& byte : bytes) byte = static_cast<std::byte>(random());
    return bytes;
  };
  const KvLayout::Shape& b = c.block;
  const PagedLayout::Shape& p = c.paged;
  MoveMemory memory;
  for (size_t i = 0; i < c.pools; ++i) {
    memory.pools.push_back(fill(uint64_t{p.element_bytes} * p.head_dim *
                                p.kv_heads * p.page_tokens * p.planes *
                                p.pages));
  }
  memory.blocks = fill(uint64_t{b.element_bytes} * b.head_dim * b.kv_heads *
                       b.block_tokens * b.planes * b.layers * c.blocks);
  memory.pages.resize(p.pages);
  std::iota(memory.pages.begin(), memory.pages.end(), 0);
  std::shuffle(memory.pages.begin(), memory.pages.end(), random);
  const uint64_t slots = c.first_slot + uint64_t{c.blocks} * b.block_tokens;
  memory.pages.resize((slots + p.page_tokens - 1) / p.page_tokens);
  return memory;
}

layout::MoveRequest RequestOf(const LayoutCase& c, const MoveMemory& memory) {
  return {.blocks = c.blocks,
          .slice = c.slice,
          .pages = memory.pages,
          .first_slot = c.first_slot};
}

void MoveByteByByte(Direction direction, const LayoutCase& c,
                    MoveMemory* memory) {
  const layout::Slice& s = c.slice;
  const uint32_t layers = s.layers != 0 ? s.layers : c.block.layers;
  const uint32_t heads = s.heads != 0 ? s.heads : c.block.kv_heads;
  const auto move_head = [&](uint64_t layer, uint64_t plane, uint64_t token,
                             uint64_t head) {
    const uint64_t slot = c.first_slot + token;
    const uint64_t bytes = uint64_t{c.block.element_bytes} * c.block.head_dim;
    for (uint64_t byte = 0; byte < bytes; ++byte) {
      std::byte& in_block = memory->blocks[OffsetInBlocks(
          c.block, token / c.block.block_tokens, s.block_layer + layer, plane,
          token % c.block.block_tokens, s.block_head + head, byte)];
      std::byte& in_pool = memory->pools[s.pool_layer + layer][OffsetInPool(
          c.paged, memory->pages[slot / c.paged.page_tokens], plane,
          slot % c.paged.page_tokens, s.pool_head + head, byte)];
      (direction == Direction::kGather ? in_block : in_pool) =
          direction == Direction::kGather ? in_pool : in_block;
    }
  };
  for (uint64_t layer = 0; layer < layers; ++layer) {
    for (uint64_t plane = 0; plane < c.block.planes; ++plane) {
      for (uint64_t t = 0; t < uint64_t{c.blocks} * c.block.block_tokens; ++t) {
        for (uint64_t h = 0; h < heads; ++h) move_head(layer, plane, t, h);
      }
    }
  }
}

}  // namespace banyan::testing
