#include "tiers/placement/age_stages.h"

#include <utility>

namespace banyan::tiers {

AgeStages::AgeStages(std::vector<double> ends) : ends_(std::move(ends)) {
  // Nobody has outlived any stage: the last one's mark is the first.
  for (auto stage = static_cast<uint32_t>(ends_.size()); stage-- > 0;) {
    line_.PushBack(stage);
  }
}

void AgeStages::Touch(uint32_t number, double now) {
  if (number >= touched_.size()) touched_.resize(size_t{number} + 1);
  touched_[number] = now;
  line_.Erase(PlaceOf(number));
  line_.PushBack(PlaceOf(number));
  if (!stages_by_due_.Has(0)) Await(0);
}

void AgeStages::AddTwin(uint32_t other, uint32_t number) {
  if (number >= touched_.size()) touched_.resize(size_t{number} + 1);
  touched_[number] = touched_[other];
  line_.InsertBefore(PlaceOf(other), PlaceOf(number));
}

void AgeStages::Await(uint32_t stage) {
  const uint32_t number = FirstOf(stage);
  if (number == NumberList::kNone) {
    stages_by_due_.Erase(stage);
  } else {
    stages_by_due_.Set(stage, DueOf(number, stage));
  }
}

void AgeStages::Pass(uint32_t number, uint32_t stage) {
  line_.Erase(stage);
  line_.InsertAfter(PlaceOf(number), stage);
  const uint32_t next = stage + 1;
  if (next < ends_.size() && !stages_by_due_.Has(next)) Await(next);
}

}  // namespace banyan::tiers
