// A list of small numbers, each in it once at most, from which any of them can
// leave. Numbers are dense: their neighbours are kept in an array.
//
// Threads: not thread-safe.
// Cost:    O(1) a change; 8 bytes a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace banyan::tiers {

class NumberList {
 public:
  static constexpr uint32_t kNone = UINT32_MAX;

  bool Has(uint32_t number) const {
    return size_t{number} + 1 < links_.size() &&
           links_[number + 1].next != kOut;
  }
  // kNone if there is none.
  uint32_t front() const { return links_[0].next - 1; }
  // The one behind it, or kNone. Requires: Has(number).
  uint32_t Next(uint32_t number) const { return links_[number + 1].next - 1; }

  // Requires: not there.
  void PushBack(uint32_t number) { Join(links_[0].previous, number + 1); }
  // Requires: Has(other), and number is not there.
  void InsertBefore(uint32_t other, uint32_t number) {
    Join(links_[other + 1].previous, number + 1);
  }
  void InsertAfter(uint32_t other, uint32_t number) {
    Join(other + 1, number + 1);
  }

  // No effect if it is not there.
  void Erase(uint32_t number) {
    if (!Has(number)) return;
    Links& links = links_[number + 1];
    links_[links.previous].next = links.next;
    links_[links.next].previous = links.previous;
    links.next = kOut;
  }

  size_t memory_bytes() const { return links_.capacity() * sizeof(Links); }

 private:
  // Number n has place n + 1. Place 0 is before the first and behind the last.
  struct Links {
    uint32_t next = kOut;
    uint32_t previous = kOut;
  };
  static constexpr uint32_t kOut = UINT32_MAX;

  void Join(uint32_t before, uint32_t place) {
    if (place >= links_.size()) links_.resize(size_t{place} + 1);
    const uint32_t next = links_[before].next;
    links_[place] = {.next = next, .previous = before};
    links_[before].next = place;
    links_[next].previous = place;
  }

  std::vector<Links> links_ = {{.next = 0, .previous = 0}};
};

}  // namespace banyan::tiers
