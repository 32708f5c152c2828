// CopyXxh3: XXH3-128 of long inputs as xxHash 0.8 defines it, with each
// stripe stored while it is in a register, so that what is summed is what was
// written, whatever happens to the source.
//
// Oracle: the library itself, in tests/unit/base/copy_checksum_test.cc.
#include "base/copy_checksum.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"
#include "base/check.h"
#include "base/xxh3_secret.h"
#include "xxhash.h"
#if defined(__x86_64__)
#if !defined(__clang__)
// g++ 12 warns of its own intrinsics (GCC bug 105593).
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
#endif
#include <immintrin.h>

#include "xxh_x86dispatch.h"
#endif

namespace banyan {
// Copied in steps that stay in the first cache until they are summed.
Checksum128 CopyXxh3InSteps(absl::Span<const std::byte> from, std::byte* to,
                            uint64_t seed) {
  constexpr size_t kStepBytes = 16 * 1024;
  XXH3_state_t state;
  XXH3_128bits_reset_withSeed(&state, seed);
  for (size_t at = 0; at < from.size(); at += kStepBytes) {
    const size_t size = std::min(kStepBytes, from.size() - at);
    std::memcpy(to + at, from.data() + at, size);
    XXH3_128bits_update(&state, to + at, size);
  }
  const XXH128_hash_t hash = XXH3_128bits_digest(&state);
  return {.low = hash.low64, .high = hash.high64};
}

namespace {

#if defined(__x86_64__)

constexpr size_t kStripeBytes = 64;
constexpr size_t kSecretBytes = kXxh3Secret.size();
constexpr size_t kSecretStep = 8;  // A stripe's keys overlap the next one's.
constexpr size_t kBlockStripes = (kSecretBytes - kStripeBytes) / kSecretStep;

// Longer copies go past the caches: what they would push out is worth more than
// a destination that is read much later.
constexpr size_t kStreamBytesMin = 128 * 1024;

// How far ahead of its reads a copy fetches: processors stop fetching ahead by
// themselves where a page ends, and what is copied is cold as a rule. First into
// the second cache, which waits for more lines at a time than the first one can,
// then from there: an eighth faster than straight into the first. Distances of 3
// to 16 KiB and of 0.5 to 2 KiB did equally well.
constexpr size_t kFetchToL2AheadBytes = 4096;
constexpr size_t kFetchToL1AheadBytes = 1024;

// What xxHash calls long; shorter inputs are summed in another way.
constexpr size_t kLongBytes = 241;

constexpr uint64_t kPrime32A = 0x9E3779B1;
constexpr uint64_t kPrime32B = 0x85EBCA77;
constexpr uint64_t kPrime32C = 0xC2B2AE3D;
constexpr uint64_t kPrime64A = 0x9E3779B185EBCA87;
constexpr uint64_t kPrime64B = 0xC2B2AE3D27D4EB4F;
constexpr uint64_t kPrime64C = 0x165667B19E3779F9;
constexpr uint64_t kPrime64D = 0x85EBCA77C2B2AE63;
constexpr uint64_t kPrime64E = 0x27D4EB2F165667C5;

// Sums and keys of one run. Keys stand at the front; the last reads go to
// offset 121 + 64.
struct Lanes {
  alignas(64) std::array<uint64_t, 8> sums{kPrime32C, kPrime64A, kPrime64B,
                                           kPrime64C, kPrime64D, kPrime32B,
                                           kPrime64E, kPrime32A};
  alignas(64) std::array<std::byte, kSecretBytes> secret{};

  explicit Lanes(uint64_t seed) {
    const auto* const base =
        reinterpret_cast<const std::byte*>(kXxh3Secret.data());
    for (size_t at = 0; at < kSecretBytes; at += 16) {
      StoreLe64(LoadLe64(base + at) + seed, &secret[at]);
      StoreLe64(LoadLe64(base + at + 8) - seed, &secret[at + 8]);
    }
  }
};

uint64_t FoldedProduct(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

uint64_t Merge(const Lanes& lanes, size_t secret_at, uint64_t start) {
  uint64_t result = start;
  for (size_t i = 0; i < 4; ++i) {
    const std::byte* const key = &lanes.secret[secret_at + 16 * i];
    result += FoldedProduct(lanes.sums[2 * i] ^ LoadLe64(key),
                            lanes.sums[2 * i + 1] ^ LoadLe64(key + 8));
  }
  result ^= result >> 37;
  result *= 0x165667919E3779F9;
  return result ^ (result >> 32);
}

Checksum128 Digest(const Lanes& lanes, uint64_t bytes) {
  return {.low = Merge(lanes, 11, bytes * kPrime64A),
          .high = Merge(lanes, kSecretBytes - kStripeBytes - 11,
                        ~(bytes * kPrime64B))};
}

bool HasAvx2() {
  static const bool has_avx2 = __builtin_cpu_supports("avx2") != 0;
  return has_avx2;
}

#define BANYAN_AVX2 __attribute__((target("avx2")))
#define BANYAN_AVX2_INLINE __attribute__((target("avx2"), always_inline)) inline

// Half a stripe: what a register holds.
constexpr size_t kHalfBytes = 32;

BANYAN_AVX2_INLINE __m256i LoadHalf(const std::byte* in) {
  return _mm256_loadu_si256(reinterpret_cast<const __m256i*>(in));
}

// Stores halves where they belong, through the caches.
class PlainWriter {
 public:
  BANYAN_AVX2_INLINE explicit PlainWriter(std::byte* to) : at_(to) {}

  BANYAN_AVX2_INLINE void Put(__m256i half) {
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(at_), half);
    at_ += kHalfBytes;
  }
  void Finish() {}

 private:
  std::byte* at_;
};

// Stores halves past the caches.
// Requires: `to` is a multiple of kHalfBytes.
class AlignedStreamWriter {
 public:
  BANYAN_AVX2_INLINE explicit AlignedStreamWriter(std::byte* to)
      : at_(reinterpret_cast<__m256i*>(to)) {}

  BANYAN_AVX2_INLINE void Put(__m256i half) {
    _mm256_stream_si256(at_++, half);
  }
  BANYAN_AVX2_INLINE void Finish() { _mm_sfence(); }

 private:
  __m256i* at_;
};

// Likewise, to other addresses: each store has the tail of one half and the head
// of the next.
// Requires: `to` is a multiple of 4.
class StreamWriter {
 public:
  BANYAN_AVX2_INLINE explicit StreamWriter(std::byte* to)
      : words_(
            static_cast<int>(reinterpret_cast<uintptr_t>(to) % kHalfBytes / 4)),
        line_(reinterpret_cast<__m256i*>(to - 4 * words_)),
        lanes_(_mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7)),
        rotate_(_mm256_and_si256(
            _mm256_sub_epi32(lanes_, _mm256_set1_epi32(words_)),
            _mm256_set1_epi32(7))),
        is_tail_(_mm256_cmpgt_epi32(_mm256_set1_epi32(words_), lanes_)) {}

  BANYAN_AVX2_INLINE void Put(__m256i half) {
    const __m256i rotated = _mm256_permutevar8x32_epi32(half, rotate_);
    if (has_begun_) {
      _mm256_stream_si256(line_, _mm256_blendv_epi8(rotated, last_, is_tail_));
    } else {
      // Lanes of the tail lie before the destination.
      _mm256_maskstore_epi32(reinterpret_cast<int*>(line_),
                             _mm256_xor_si256(is_tail_, _mm256_set1_epi32(-1)),
                             rotated);
      has_begun_ = true;
    }
    last_ = rotated;
    ++line_;
  }

  // The tail of the last half.
  BANYAN_AVX2_INLINE void Finish() {
    _mm256_maskstore_epi32(reinterpret_cast<int*>(line_), is_tail_, last_);
    _mm_sfence();
  }

 private:
  const int words_;  // Of four bytes, by which stores and halves differ.
  __m256i* line_;
  const __m256i lanes_;
  const __m256i rotate_;
  const __m256i is_tail_;
  __m256i last_{};
  bool has_begun_ = false;
};

// The eight sums.
struct Sums {
  __m256i low;
  __m256i high;
};

BANYAN_AVX2_INLINE __m256i AddHalf(__m256i sums, __m256i half,
                                   const std::byte* key) {
  const __m256i keyed = _mm256_xor_si256(half, LoadHalf(key));
  const __m256i product = _mm256_mul_epu32(keyed, _mm256_srli_epi64(keyed, 32));
  const __m256i swapped = _mm256_shuffle_epi32(half, _MM_SHUFFLE(1, 0, 3, 2));
  return _mm256_add_epi64(product, _mm256_add_epi64(sums, swapped));
}

BANYAN_AVX2_INLINE __m256i ScrambleHalf(__m256i sums, const std::byte* key) {
  const __m256i prime = _mm256_set1_epi32(static_cast<int>(kPrime32A));
  __m256i mixed = _mm256_xor_si256(sums, _mm256_srli_epi64(sums, 47));
  mixed = _mm256_xor_si256(mixed, LoadHalf(key));
  const __m256i low = _mm256_mul_epu32(mixed, prime);
  const __m256i high = _mm256_mul_epu32(_mm256_srli_epi64(mixed, 32), prime);
  return _mm256_add_epi64(low, _mm256_slli_epi64(high, 32));
}

template <typename Writer>
BANYAN_AVX2_INLINE void CopyStripe(const std::byte* in, const std::byte* key,
                                   Writer& writer, Sums& sums) {
  // Harmless where nothing is mapped.
  const auto* const at = reinterpret_cast<const char*>(in);
  _mm_prefetch(at + kFetchToL2AheadBytes, _MM_HINT_T1);
  _mm_prefetch(at + kFetchToL1AheadBytes, _MM_HINT_T0);
  const __m256i low = LoadHalf(in);
  const __m256i high = LoadHalf(in + kHalfBytes);
  writer.Put(low);
  writer.Put(high);
  sums.low = AddHalf(sums.low, low, key);
  sums.high = AddHalf(sums.high, high, key + kHalfBytes);
}

// Copies and sums so many stripes, whole blocks of them first.
template <typename Writer>
BANYAN_AVX2 void CopyStripesBy(const std::byte* in, size_t stripes,
                               std::byte* to, Lanes& lanes) {
  const std::byte* const key = lanes.secret.data();
  const std::byte* const last_key = key + kSecretBytes - kStripeBytes;
  auto* const saved = reinterpret_cast<__m256i*>(lanes.sums.data());
  Sums sums{_mm256_load_si256(saved), _mm256_load_si256(saved + 1)};
  Writer writer(to);
  const size_t blocks = stripes / kBlockStripes;
  for (size_t block = 0; block < blocks; ++block) {
    for (size_t i = 0; i < kBlockStripes; ++i, in += kStripeBytes) {
      CopyStripe(in, key + i * kSecretStep, writer, sums);
    }
    sums = {ScrambleHalf(sums.low, last_key),
            ScrambleHalf(sums.high, last_key + kHalfBytes)};
  }
  for (size_t i = 0; i < stripes % kBlockStripes; ++i, in += kStripeBytes) {
    CopyStripe(in, key + i * kSecretStep, writer, sums);
  }
  writer.Finish();
  _mm256_store_si256(saved, sums.low);
  _mm256_store_si256(saved + 1, sums.high);
}

enum class Way { kCached, kStream, kAlignedStream };

// How to copy to `to`, which is a part of so many bytes.
Way WayTo(const std::byte* to, size_t bytes) {
  const auto address = reinterpret_cast<uintptr_t>(to);
  if (bytes < kStreamBytesMin || address % 4 != 0) return Way::kCached;
  return address % kHalfBytes == 0 ? Way::kAlignedStream : Way::kStream;
}

void CopyStripes(Way way, const std::byte* in, size_t stripes, std::byte* to,
                 Lanes& lanes) {
  if (stripes == 0) return;
  switch (way) {
    case Way::kCached:
      return CopyStripesBy<PlainWriter>(in, stripes, to, lanes);
    case Way::kStream:
      return CopyStripesBy<StreamWriter>(in, stripes, to, lanes);
    case Way::kAlignedStream:
      return CopyStripesBy<AlignedStreamWriter>(in, stripes, to, lanes);
  }
}

// Sums the last stripe of what was copied: it overlaps the one before.
BANYAN_AVX2 void SumLastStripe(const std::byte* copy_end, Lanes& lanes) {
  const std::byte* const key =
      lanes.secret.data() + kSecretBytes - kStripeBytes - 7;
  const std::byte* const in = copy_end - kStripeBytes;
  auto* const saved = reinterpret_cast<__m256i*>(lanes.sums.data());
  _mm256_store_si256(saved,
                     AddHalf(_mm256_load_si256(saved), LoadHalf(in), key));
  _mm256_store_si256(saved + 1,
                     AddHalf(_mm256_load_si256(saved + 1),
                             LoadHalf(in + kHalfBytes), key + kHalfBytes));
}

// The end of a run, the last stripe of which begins in it or before it.
void CopyEnd(Way way, absl::Span<const std::byte> from, std::byte* to,
             Lanes& lanes) {
  const size_t stripes = (from.size() - 1) / kStripeBytes;
  CopyStripes(way, from.data(), stripes, to, lanes);
  const size_t done = stripes * kStripeBytes;
  if (from.data() != to) {
    std::memcpy(to + done, from.data() + done, from.size() - done);
  }
  SumLastStripe(to + from.size(), lanes);
}

// Requires: from.size() >= kLongBytes.
Checksum128 CopyAvx2(Way way, absl::Span<const std::byte> from, std::byte* to,
                     uint64_t seed) {
  Lanes lanes(seed);
  CopyEnd(way, from, to, lanes);
  return Digest(lanes, from.size());
}

#endif

}  // namespace

Checksum128 CopyXxh3(absl::Span<const std::byte> from, std::byte* to,
                     uint64_t seed) {
#if defined(__x86_64__)
  if (from.size() >= kLongBytes && HasAvx2()) {
    return CopyAvx2(WayTo(to, from.size()), from, to, seed);
  }
#endif
  return CopyXxh3InSteps(from, to, seed);
}

Checksum128 CopyXxh3Cached(absl::Span<const std::byte> from, std::byte* to,
                           uint64_t seed) {
#if defined(__x86_64__)
  if (from.size() >= kLongBytes && HasAvx2()) {
    return CopyAvx2(Way::kCached, from, to, seed);
  }
#endif
  return CopyXxh3InSteps(from, to, seed);
}

bool PartedCopy::is_summing() const {
#if defined(__x86_64__)
  return to_.size() >= kLongBytes && HasAvx2();
#else
  return false;
#endif
}

void PartedCopy::Add(absl::Span<const std::byte> part) {
  BANYAN_CHECK(part.size() <= left_bytes());
  if (!is_summing()) return AddUnsummed(part);
  if (summed_bytes_ < done_bytes_) {
    const size_t rest =
        std::min(summed_bytes_ + kStepBytes - done_bytes_, part.size());
    AddUnsummed(part.first(rest));
    part.remove_prefix(rest);
    SumInPlace();
  }
  if (part.empty()) return;
  const bool is_last = part.size() == left_bytes();
  const size_t steps =
      is_last ? part.size() : part.size() / kStepBytes * kStepBytes;
  AddSteps(part.first(steps));
  AddUnsummed(part.subspan(steps));
}

void PartedCopy::AddUnsummed(absl::Span<const std::byte> part) {
  if (part.empty()) return;
  std::memcpy(to_.data() + done_bytes_, part.data(), part.size());
  done_bytes_ += part.size();
}

void PartedCopy::SumInPlace() {
  const auto step = to_.first(done_bytes_).subspan(summed_bytes_);
  if (step.size() < kStepBytes && left_bytes() > 0) return;
  done_bytes_ = summed_bytes_;
  AddSteps(step);
}

void PartedCopy::AddSteps([[maybe_unused]] absl::Span<const std::byte> part) {
#if defined(__x86_64__)
  static_assert(kStepBytes == kBlockStripes * kStripeBytes);
  if (part.empty()) return;
  Lanes lanes(seed_);
  if (summed_bytes_ > 0) lanes.sums = sums_;
  std::byte* const to = to_.data() + done_bytes_;
  const Way way = part.data() == to ? Way::kCached : WayTo(to, to_.size());
  if (part.size() == left_bytes()) {
    CopyEnd(way, part, to, lanes);
  } else {
    CopyStripes(way, part.data(), part.size() / kStripeBytes, to, lanes);
  }
  sums_ = lanes.sums;
  done_bytes_ += part.size();
  summed_bytes_ = done_bytes_;
#endif
}

Checksum128 PartedCopy::Sum() const {
  BANYAN_CHECK(left_bytes() == 0);
#if defined(__x86_64__)
  if (summed_bytes_ > 0 && summed_bytes_ == to_.size()) {
    Lanes lanes(seed_);
    lanes.sums = sums_;
    return Digest(lanes, to_.size());
  }
#endif
  return Xxh3_128(to_, seed_);
}

}  // namespace banyan
