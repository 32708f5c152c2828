// Says of small numbers when they have grown past certain ages, the ends of
// stages. All of them stand in one line, oldest first, and a mark for each stage
// stands behind those that have outlived it; so to grow older costs a step of a
// mark, and nobody is sorted.
//
// Domain:  times are seconds on any clock that does not go back.
// Threads: not thread-safe.
// Cost:    O(1) a touch, O(log stages) a stage outlived; 16 bytes a number.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "tiers/placement/keyed_heap.h"
#include "tiers/placement/number_list.h"

namespace banyan::tiers {

class AgeStages {
 public:
  // The ages at which stages end, rising and above 0.
  explicit AgeStages(std::vector<double> ends);

  // The number is of age 0, whatever it was.
  void Touch(uint32_t number, double now);
  // The number, which is not there, is as old as `other`, which is.
  void AddTwin(uint32_t other, uint32_t number);
  // No effect if it is not there.
  void Erase(uint32_t number) { line_.Erase(PlaceOf(number)); }

  // It is `now`: calls outlived(number, stages) for each stage that a number has
  // outlived since the last call, and all before it, of which `stages` is the
  // count; in the order of time. `outlived` may not change this object.
  template <typename Outlived>
  void Advance(double now, Outlived outlived) {
    while (!stages_by_due_.empty() && stages_by_due_.top().key <= now) {
      const uint32_t stage = stages_by_due_.top().number;
      const uint32_t number = FirstOf(stage);
      // Whom it waited for may have left.
      if (number != NumberList::kNone &&
          DueOf(number, stage) <= stages_by_due_.top().key) {
        Pass(number, stage);
        outlived(number, stage + 1);
      }
      Await(stage);
    }
  }

  size_t memory_bytes() const {
    return line_.memory_bytes() + touched_.capacity() * sizeof(double);
  }

 private:
  // In the line marks come before numbers.
  uint32_t PlaceOf(uint32_t number) const {
    return number + static_cast<uint32_t>(ends_.size());
  }
  // The oldest number in a stage, or kNone.
  uint32_t FirstOf(uint32_t stage) const {
    const uint32_t place = line_.Next(stage);
    const bool is_number = place != NumberList::kNone && place >= ends_.size();
    return is_number ? place - PlaceOf(0) : NumberList::kNone;
  }
  double DueOf(uint32_t number, uint32_t stage) const {
    return touched_[number] + ends_[stage];
  }
  // Sets when somebody outlives the stage next.
  void Await(uint32_t stage);
  // The mark of the stage steps behind the number.
  void Pass(uint32_t number, uint32_t stage);

  const std::vector<double> ends_;
  NumberList line_;
  std::vector<double> touched_;  // By number.
  // By when somebody outlives them, or before that; without those nobody is in.
  KeyedHeap stages_by_due_;
};

}  // namespace banyan::tiers
