#include "client/ctl/simulator.h"

#include <algorithm>
#include <chrono>
#include <optional>
#include <queue>
#include <random>
#include <utility>

#include "absl/container/flat_hash_map.h"

namespace banyan::ctl {
namespace {

using tiers::BlockRef;
using tiers::kNoBlock;

constexpr size_t kProgressEvery = 256;  // Requests.

// Spreads bits as a real id does (the finalizer of SplitMix64).
uint64_t Mix(uint64_t x) {
  x += 0x9e3779b97f4a7c15;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
  x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
  return x ^ (x >> 31);
}

// The requests whose answer is not complete.
class OpenAnswers {
 public:
  explicit OpenAnswers(const SimulatedTrace& trace)
      : trace_(trace), open_by_block_(trace.ids().size(), 0) {}

  void Add(size_t i) {
    if (trace_.answer_tokens(i) == 0 || trace_.prompt(i).empty()) return;
    by_end_.emplace(trace_.end(i), i);
    open_by_block_[LastWholeBlock(i)] = i + 1;
  }

  // One that is complete by the time request i comes, if there is any left:
  // its time is over, or request i goes on from it.
  std::optional<size_t> TakeComplete(size_t i) {
    for (const uint32_t block : trace_.prompt(i)) {
      if (open_by_block_[block] > 0) return Close(open_by_block_[block] - 1);
    }
    while (!by_end_.empty() && by_end_.top().first <= trace_.now(i)) {
      const size_t ended = by_end_.top().second;
      by_end_.pop();
      if (open_by_block_[LastWholeBlock(ended)] == ended + 1) {
        return Close(ended);
      }
    }
    return std::nullopt;
  }

 private:
  // The last one of the prompt that is in the next turn, too.
  uint32_t LastWholeBlock(size_t i) const {
    const absl::Span<const uint32_t> prompt = trace_.prompt(i);
    return prompt[prompt.size() - std::min<size_t>(2, prompt.size())];
  }

  size_t Close(size_t i) {
    open_by_block_[LastWholeBlock(i)] = 0;
    return i;
  }

  using End = std::pair<absl::Duration, size_t>;
  const SimulatedTrace& trace_;
  std::priority_queue<End, std::vector<End>, std::greater<>> by_end_;
  std::vector<size_t> open_by_block_;  // Request + 1, by LastWholeBlock.
};

// The cache: which blocks of the trace are there, under which refs.
class Residents {
 public:
  Residents(const SimulatedTrace& trace, tiers::EvictionPolicy& policy,
            uint64_t capacity_blocks)
      : trace_(trace),
        policy_(policy),
        capacity_blocks_(capacity_blocks),
        open_answers_(trace),
        ref_of_(trace.ids().size(), kNoBlock) {}

  // Returns the blocks that hit.
  size_t Request(size_t i) {
    while (const auto ended = open_answers_.TakeComplete(i)) {
      TellAnswer(*ended, trace_.now(i));
    }
    open_answers_.Add(i);
    const absl::Span<const uint32_t> prompt = trace_.prompt(i);
    tiers::RequestFacts facts{
        .now = trace_.now(i),
        .prompt_blocks = static_cast<uint32_t>(prompt.size())};
    Match(prompt);
    const size_t hits = refs_.size();
    policy_.Touch(refs_, facts);
    MakeRoom(prompt.subspan(hits), facts);
    Publish(prompt.first(hits + room_), hits, facts);
    if (trace_.is_told_to_end(i)) {
      facts.hint.reuse = tiers::Reuse::kEnded;
      policy_.Hint(refs_, facts);
    }
    return hits;
  }

  uint64_t evictions() const { return evictions_; }

 private:
  struct Slot {
    uint32_t block = 0;  // Number in the trace.
    BlockRef parent = kNoBlock;
    uint32_t children = 0;
  };

  void TellAnswer(size_t i, absl::Duration now) {
    Match(trace_.prompt(i));
    if (refs_.empty()) return;
    policy_.Hint(
        refs_, {.now = now,
                .prompt_blocks = static_cast<uint32_t>(trace_.prompt(i).size()),
                .hint = {.generated_tokens = trace_.answer_tokens(i)}});
  }

  // The leading run that is there, into refs_.
  void Match(absl::Span<const uint32_t> prompt) {
    refs_.clear();
    for (const uint32_t block : prompt) {
      if (ref_of_[block] == kNoBlock) break;
      refs_.push_back(ref_of_[block]);
    }
  }

  // Room for as many of the blocks behind the match as the policy admits: how
  // many is in room_.
  void MakeRoom(absl::Span<const uint32_t> missing, tiers::RequestFacts facts) {
    run_ids_.clear();
    for (const uint32_t block : missing) {
      run_ids_.push_back(trace_.ids()[block]);
    }
    facts.first_block = static_cast<uint32_t>(refs_.size());
    tiers::IncomingRun incoming{
        .ids = run_ids_, .parent = refs_.empty() ? kNoBlock : refs_.back()};
    for (room_ = 0; room_ < missing.size(); ++room_) {
      incoming.next = room_;
      if (used_ + room_ >= capacity_blocks_ && !EvictOne(incoming, facts)) {
        return;
      }
    }
  }

  bool EvictOne(const tiers::IncomingRun& incoming,
                const tiers::RequestFacts& facts) {
    for (size_t tries = policy_.size() + 1; tries > 0; --tries) {
      const std::optional<BlockRef> victim =
          policy_.TakeVictimFor(incoming, facts);
      if (!victim.has_value()) return false;
      Slot& slot = slots_[*victim];
      if (slot.children > 0) {
        policy_.Retain(*victim);
        continue;
      }
      if (slot.parent != kNoBlock) --slots_[slot.parent].children;
      ref_of_[slot.block] = kNoBlock;
      free_.push_back(*victim);
      --used_;
      ++evictions_;
      return true;
    }
    return false;
  }

  // Making room may have cut the matched run itself, if it nearly fills the
  // cache: then the prompt goes on where it now ends.
  void Publish(absl::Span<const uint32_t> prompt, size_t hits,
               tiers::RequestFacts& facts) {
    const size_t matched = hits;
    Match(prompt.first(hits));
    hits = refs_.size();
    if (hits < matched) prompt = prompt.first(hits + room_);
    tiers::NewRun run{.parent = refs_.empty() ? kNoBlock : refs_.back()};
    run_ids_.clear();
    BlockRef parent = run.parent;
    for (const uint32_t block : prompt.subspan(hits)) {
      parent = Store(block, parent);
      refs_.push_back(parent);
      run_ids_.push_back(trace_.ids()[block]);
    }
    if (run_ids_.empty()) return;
    run.blocks = absl::MakeConstSpan(refs_).subspan(hits);
    run.ids = run_ids_;
    facts.first_block = static_cast<uint32_t>(hits);
    policy_.Insert(run, facts);
    facts.first_block = 0;
  }

  // A block of a damaged trace can be there already; it stays where it is.
  BlockRef Store(uint32_t block, BlockRef parent) {
    if (ref_of_[block] != kNoBlock) return ref_of_[block];
    BlockRef ref;
    if (free_.empty()) {
      ref = static_cast<BlockRef>(slots_.size());
      slots_.emplace_back();
    } else {
      ref = free_.back();
      free_.pop_back();
    }
    slots_[ref] = {.block = block, .parent = parent};
    if (parent != kNoBlock) ++slots_[parent].children;
    ref_of_[block] = ref;
    ++used_;
    return ref;
  }

  const SimulatedTrace& trace_;
  tiers::EvictionPolicy& policy_;
  const uint64_t capacity_blocks_;
  OpenAnswers open_answers_;
  std::vector<BlockRef> ref_of_;  // By number in the trace.
  std::vector<Slot> slots_;       // By ref.
  std::vector<BlockRef> free_;
  uint64_t used_ = 0;
  size_t room_ = 0;
  uint64_t evictions_ = 0;
  // Of the request at hand, kept for their memory.
  std::vector<BlockRef> refs_;
  std::vector<BlockId> run_ids_;
};

}  // namespace

SimulatedTrace::SimulatedTrace(const std::vector<TraceRequest>& trace,
                               const HintColumn& hints) {
  absl::flat_hash_map<uint64_t, uint32_t> numbers;
  for (const TraceRequest& request : trace) {
    const auto i = static_cast<uint32_t>(requests_.size());
    const auto now = absl::Milliseconds(request.timestamp_ms);
    const auto tokens = static_cast<double>(request.output_tokens);
    requests_.push_back(
        {.begin = blocks_.size(),
         .now = now,
         .end = now + absl::Milliseconds(tokens * hints.token_ms)});
    if (hints.token_ms > 0) {
      requests_.back().answer_tokens = static_cast<uint32_t>(
          std::min<uint64_t>(request.output_tokens, UINT32_MAX));
    }
    for (const uint64_t block : request.blocks) {
      const auto [entry, is_new] = numbers.emplace(block, ids_.size());
      if (is_new) {
        const uint64_t low = Mix(entry->second);
        ids_.push_back({.low = low, .high = Mix(low)});
        last_request_.push_back(i);
      }
      blocks_.push_back(entry->second);
      last_request_[entry->second] = i;
    }
  }
  std::mt19937_64 rng(hints.seed);
  std::uniform_real_distribution<double> uniform;
  for (size_t i = 0; i < requests_.size(); ++i) {
    const double share = IsEnding(i) ? hints.told : hints.untrue;
    requests_[i].is_told_to_end = uniform(rng) < share;
  }
}

absl::Span<const uint32_t> SimulatedTrace::prompt(size_t i) const {
  const size_t begin = requests_[i].begin;
  const size_t end =
      i + 1 < requests_.size() ? requests_[i + 1].begin : blocks_.size();
  return absl::MakeConstSpan(blocks_).subspan(begin, end - begin);
}

bool SimulatedTrace::IsEnding(size_t i) const {
  const absl::Span<const uint32_t> blocks = prompt(i);
  if (blocks.empty()) return true;
  return last_request_[blocks[(blocks.size() - 1) / 2]] <= i;
}

Simulation Simulate(const SimulatedTrace& trace, tiers::EvictionPolicy& policy,
                    uint64_t capacity_blocks,
                    const std::function<void(size_t)>& progress) {
  using SteadyClock = std::chrono::steady_clock;
  Simulation simulation{.blocks_requested = trace.blocks_requested()};
  Residents residents(trace, policy, capacity_blocks);
  const auto start = SteadyClock::now();
  for (size_t i = 0; i < trace.size(); ++i) {
    simulation.blocks_hit += residents.Request(i);
    if (progress && i % kProgressEvery == 0) progress(i);
  }
  simulation.evictions = residents.evictions();
  simulation.seconds =
      std::chrono::duration<double>(SteadyClock::now() - start).count();
  return simulation;
}

}  // namespace banyan::ctl
