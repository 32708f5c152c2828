#include "tests/testing/simt/traffic.h"

#include <algorithm>
#include <set>

#include "absl/types/span.h"

namespace banyan::simt {
namespace {

constexpr uintptr_t kSectorBytes = 32;
constexpr uintptr_t kBankBytes = 4;
constexpr uintptr_t kBanks = 32;

// Lanes that one wavefront can serve: half a warp of 8-byte accesses, and so on.
size_t LanesOfWavefront(size_t bytes) {
  return std::clamp<size_t>(kBanks * kBankBytes / bytes, 1, 32);
}

}  // namespace

double Traffic::sector_use() const {
  const uint64_t fetched = kSectorBytes * (read_sectors + written_sectors);
  if (fetched == 0) return 1;
  return static_cast<double>(read_bytes + written_bytes) /
         static_cast<double>(fetched);
}

void TrafficCounter::SetTraffic(Traffic* traffic) {
  if (is_on()) Fold();
  traffic_ = traffic;
}

void TrafficCounter::Add(const std::byte* at, size_t bytes, bool is_write,
                         bool is_device, const void* place, unsigned warp,
                         unsigned thread) {
  Step& next = next_[{place, thread}];
  if (next.meeting != meetings_[thread]) next = {meetings_[thread], 0};
  Request& request = requests_[{place, warp, next}];
  ++next.time;
  request.is_write = is_write;
  request.is_device = is_device;
  request.pieces.push_back({reinterpret_cast<uintptr_t>(at), bytes});
}

void TrafficCounter::Meet(unsigned warp, uint32_t mask) {
  const auto lanes = absl::MakeSpan(meetings_).subspan(warp * kWarpLanes);
  uint64_t meeting = 0;
  for (unsigned i = 0; i < kWarpLanes; ++i) {
    if ((mask >> i & 1) != 0) meeting = std::max(meeting, lanes[i] + 1);
  }
  for (unsigned i = 0; i < kWarpLanes; ++i) {
    if ((mask >> i & 1) != 0) lanes[i] = meeting;
  }
}

void TrafficCounter::MeetAll() {
  const uint64_t meeting =
      *std::max_element(meetings_.begin(), meetings_.end()) + 1;
  std::fill(meetings_.begin(), meetings_.end(), meeting);
}

void TrafficCounter::Fold() {
  for (const auto& [key, request] : requests_) {
    if (request.is_device) {
      FoldDevice(request);
    } else {
      FoldShared(request);
    }
  }
  requests_.clear();
  next_.clear();
}

void TrafficCounter::FoldDevice(const Request& request) {
  std::set<uintptr_t> sectors;
  uint64_t bytes = 0;
  for (const Piece& piece : request.pieces) {
    bytes += piece.bytes;
    const uintptr_t last = (piece.at + piece.bytes - 1) / kSectorBytes;
    for (uintptr_t s = piece.at / kSectorBytes; s <= last; ++s)
      sectors.insert(s);
  }
  (request.is_write ? traffic_->written_bytes : traffic_->read_bytes) += bytes;
  (request.is_write ? traffic_->written_sectors : traffic_->read_sectors) +=
      sectors.size();
  ++traffic_->requests;
}

void TrafficCounter::FoldShared(const Request& request) {
  const auto& pieces = request.pieces;
  const size_t step = LanesOfWavefront(pieces.front().bytes);
  for (size_t begin = 0; begin < pieces.size(); begin += step) {
    std::map<uintptr_t, std::set<uintptr_t>> words_of_bank;
    const size_t end = std::min(begin + step, pieces.size());
    for (size_t i = begin; i < end; ++i) {
      const uintptr_t last = (pieces[i].at + pieces[i].bytes - 1) / kBankBytes;
      for (uintptr_t w = pieces[i].at / kBankBytes; w <= last; ++w) {
        words_of_bank[w % kBanks].insert(w);
      }
    }
    size_t busiest = 0;
    for (const auto& [bank, words] : words_of_bank) {
      busiest = std::max(busiest, words.size());
    }
    ++traffic_->shared_wavefronts_ideal;
    traffic_->shared_wavefronts += busiest;
  }
}

}  // namespace banyan::simt
