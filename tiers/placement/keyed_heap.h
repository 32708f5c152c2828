// A min-heap of small numbers by key, in which the key of any of them can be
// changed. Numbers are dense: their places are kept in an array.
//
// Threads: not thread-safe.
// Cost:    O(log n) a change; 16 bytes an entry and 4 bytes a number.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <vector>

namespace banyan::tiers {

class KeyedHeap {
 public:
  struct Entry {
    double key = 0;
    uint32_t number = 0;
  };

  bool empty() const { return entries_.empty(); }
  size_t size() const { return entries_.size(); }
  const Entry& top() const { return entries_.front(); }
  bool Has(uint32_t number) const {
    return number < places_.size() && places_[number] != kNowhere;
  }

  // It will be asked for soon.
  void Prefetch(uint32_t number) const {
    __builtin_prefetch(places_.data() + number);
  }

  // Requires: Has(number).
  double KeyOf(uint32_t number) const { return entries_[places_[number]].key; }

  // Adds the number, or gives it another key.
  void Set(uint32_t number, double key) {
    if (number >= places_.size()) places_.resize(size_t{number} + 1, kNowhere);
    uint32_t at = places_[number];
    if (at == kNowhere) {
      at = static_cast<uint32_t>(entries_.size());
      entries_.emplace_back();
    }
    Settle(at, {.key = key, .number = number});
  }

  // No effect if it is not there.
  void Erase(uint32_t number) {
    if (!Has(number)) return;
    const uint32_t at = places_[number];
    places_[number] = kNowhere;
    const Entry last = entries_.back();
    entries_.pop_back();
    if (last.number != number) Settle(at, last);
  }

  size_t memory_bytes() const {
    return entries_.capacity() * sizeof(Entry) +
           places_.capacity() * sizeof(uint32_t);
  }

 private:
  static constexpr uint32_t kNowhere = UINT32_MAX;
  static constexpr uint32_t kChildren = 4;  // Side by side: few cache misses.

  void Put(uint32_t at, const Entry& entry) {
    entries_[at] = entry;
    places_[entry.number] = at;
  }

  // Puts the entry at `at`, a hole, or where it belongs from there.
  void Settle(uint32_t at, const Entry& entry) {
    while (at > 0 && entry.key < entries_[(at - 1) / kChildren].key) {
      Put(at, entries_[(at - 1) / kChildren]);
      at = (at - 1) / kChildren;
    }
    const auto size = static_cast<uint32_t>(entries_.size());
    while (true) {
      const uint32_t first = kChildren * at + 1;
      if (first >= size) break;
      uint32_t child = first;
      const uint32_t end = std::min(first + kChildren, size);
      for (uint32_t other = first + 1; other < end; ++other) {
        if (entries_[other].key < entries_[child].key) child = other;
      }
      if (!(entries_[child].key < entry.key)) break;
      Put(at, entries_[child]);
      at = child;
    }
    Put(at, entry);
  }

  std::vector<Entry> entries_;
  std::vector<uint32_t> places_;
};

}  // namespace banyan::tiers
