// CopyXxh3_128: XXH3-128 of long inputs as xxHash 0.8 defines it, with each
// stripe stored while it is in a register, so that what is summed is what was
// written, whatever happens to the source.
//
// Oracle: the library itself, in tests/unit/base/copy_checksum_test.cc.
#include <algorithm>
#include <array>
#include <cstring>

#include "base/bytes.h"
#include "base/checksum.h"
// For the state of a running sum on the stack, and the default secret.
#define XXH_STATIC_LINKING_ONLY
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
namespace {

// Copied in steps that stay in the first cache until they are summed.
Checksum128 CopyInSteps(absl::Span<const std::byte> from, std::byte* to,
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

#if defined(__x86_64__)

constexpr size_t kStripeBytes = 64;
constexpr size_t kSecretBytes = 192;
constexpr size_t kSecretStep = 8;  // A stripe's keys overlap the next one's.
constexpr size_t kBlockStripes = (kSecretBytes - kStripeBytes) / kSecretStep;
constexpr size_t kBlockBytes = kBlockStripes * kStripeBytes;

// Longer copies go past the caches: what they would push out is worth more than
// a destination that is read much later.
constexpr size_t kStreamBytesMin = 128 * 1024;

constexpr uint64_t kPrime32_1 = 0x9E3779B1;
constexpr uint64_t kPrime32_2 = 0x85EBCA77;
constexpr uint64_t kPrime32_3 = 0xC2B2AE3D;
constexpr uint64_t kPrime64_1 = 0x9E3779B185EBCA87;
constexpr uint64_t kPrime64_2 = 0xC2B2AE3D27D4EB4F;
constexpr uint64_t kPrime64_3 = 0x165667B19E3779F9;
constexpr uint64_t kPrime64_4 = 0x85EBCA77C2B2AE63;
constexpr uint64_t kPrime64_5 = 0x27D4EB2F165667C5;

// The default secret of xxHash.
alignas(64) constexpr std::array<uint8_t, kSecretBytes> kSecret = {
    0xb8, 0xfe, 0x6c, 0x39, 0x23, 0xa4, 0x4b, 0xbe, 0x7c, 0x01, 0x81, 0x2c,
    0xf7, 0x21, 0xad, 0x1c, 0xde, 0xd4, 0x6d, 0xe9, 0x83, 0x90, 0x97, 0xdb,
    0x72, 0x40, 0xa4, 0xa4, 0xb7, 0xb3, 0x67, 0x1f, 0xcb, 0x79, 0xe6, 0x4e,
    0xcc, 0xc0, 0xe5, 0x78, 0x82, 0x5a, 0xd0, 0x7d, 0xcc, 0xff, 0x72, 0x21,
    0xb8, 0x08, 0x46, 0x74, 0xf7, 0x43, 0x24, 0x8e, 0xe0, 0x35, 0x90, 0xe6,
    0x81, 0x3a, 0x26, 0x4c, 0x3c, 0x28, 0x52, 0xbb, 0x91, 0xc3, 0x00, 0xcb,
    0x88, 0xd0, 0x65, 0x8b, 0x53, 0x2e, 0xa3, 0x71, 0x64, 0x48, 0x97, 0xa2,
    0x0d, 0xf9, 0x4e, 0x38, 0x19, 0xef, 0x46, 0xa9, 0xde, 0xac, 0xd8, 0xa8,
    0xfa, 0x76, 0x3f, 0xe3, 0x9c, 0x34, 0x3f, 0xf9, 0xdc, 0xbb, 0xc7, 0xc7,
    0x0b, 0x4f, 0x1d, 0x8a, 0x51, 0xe0, 0x4b, 0xcd, 0xb4, 0x59, 0x31, 0xc8,
    0x9f, 0x7e, 0xc9, 0xd9, 0x78, 0x73, 0x64, 0xea, 0xc5, 0xac, 0x83, 0x34,
    0xd3, 0xeb, 0xc3, 0xc5, 0x81, 0xa0, 0xff, 0xfa, 0x13, 0x63, 0xeb, 0x17,
    0x0d, 0xdd, 0x51, 0xb7, 0xf0, 0xda, 0x49, 0xd3, 0x16, 0x55, 0x26, 0x29,
    0xd4, 0x68, 0x9e, 0x2b, 0x16, 0xbe, 0x58, 0x7d, 0x47, 0xa1, 0xfc, 0x8f,
    0xf8, 0xb8, 0xd1, 0x7a, 0xd0, 0x31, 0xce, 0x45, 0xcb, 0x3a, 0x8f, 0x95,
    0x16, 0x04, 0x28, 0xaf, 0xd7, 0xfb, 0xca, 0xbb, 0x4b, 0x40, 0x7e};

// Sums and keys of one run. Keys stand at the front; the last reads go to
// offset 121 + 64.
struct Lanes {
  alignas(64) std::array<uint64_t, 8> sums{kPrime32_3, kPrime64_1, kPrime64_2,
                                           kPrime64_3, kPrime64_4, kPrime32_2,
                                           kPrime64_5, kPrime32_1};
  alignas(64) std::array<std::byte, kSecretBytes> secret{};

  explicit Lanes(uint64_t seed) {
    const auto* const base = reinterpret_cast<const std::byte*>(kSecret.data());
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
  return {.low = Merge(lanes, 11, bytes * kPrime64_1),
          .high = Merge(lanes, kSecretBytes - kStripeBytes - 11,
                        ~(bytes * kPrime64_2))};
}

// How a stripe is stored.
enum class Store { kPlain, kStream16, kStream64 };

template <Store kStore>
__attribute__((target("avx512f"), always_inline)) inline void PutStripe(
    __m512i stripe, std::byte* to) {
  if constexpr (kStore == Store::kStream64) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), stripe);
  } else if constexpr (kStore == Store::kStream16) {
    auto* const out = reinterpret_cast<__m128i*>(to);
    _mm_stream_si128(out, _mm512_maskz_extracti32x4_epi32(0xF, stripe, 0));
    _mm_stream_si128(out + 1, _mm512_maskz_extracti32x4_epi32(0xF, stripe, 1));
    _mm_stream_si128(out + 2, _mm512_maskz_extracti32x4_epi32(0xF, stripe, 2));
    _mm_stream_si128(out + 3, _mm512_maskz_extracti32x4_epi32(0xF, stripe, 3));
  } else {
    _mm512_storeu_si512(to, stripe);
  }
}

__attribute__((target("avx512f"), always_inline)) inline __m512i AddStripe(
    __m512i sums, __m512i stripe, const std::byte* key) {
  const __m512i keyed = _mm512_xor_si512(stripe, _mm512_loadu_si512(key));
  const __m512i product = _mm512_mul_epu32(keyed, _mm512_srli_epi64(keyed, 32));
  const __m512i swapped = _mm512_shuffle_epi32(stripe, _MM_PERM_BADC);
  return _mm512_add_epi64(product, _mm512_add_epi64(sums, swapped));
}

__attribute__((target("avx512f"), always_inline)) inline __m512i Scramble(
    __m512i sums, const std::byte* key) {
  const __m512i prime = _mm512_set1_epi64(kPrime32_1);
  __m512i mixed = _mm512_xor_si512(sums, _mm512_srli_epi64(sums, 47));
  mixed = _mm512_xor_si512(mixed, _mm512_loadu_si512(key));
  const __m512i low = _mm512_mul_epu32(mixed, prime);
  const __m512i high = _mm512_mul_epu32(_mm512_srli_epi64(mixed, 32), prime);
  return _mm512_add_epi64(low, _mm512_slli_epi64(high, 32));
}

template <Store kStore>
__attribute__((target("avx512f"))) Checksum128
CopyAvx512(absl::Span<const std::byte> from, std::byte* to, uint64_t seed) {
  Lanes lanes(seed);
  const std::byte* const key = lanes.secret.data();
  __m512i sums = _mm512_load_si512(lanes.sums.data());
  const std::byte* in = from.data();
  std::byte* out = to;
  const auto step =
      [&](size_t stripe) __attribute__((target("avx512f"), always_inline)) {
        const __m512i bytes = _mm512_loadu_si512(in);
        PutStripe<kStore>(bytes, out);
        sums = AddStripe(sums, bytes, key + stripe * kSecretStep);
        in += kStripeBytes;
        out += kStripeBytes;
      };
  const size_t blocks = (from.size() - 1) / kBlockBytes;
  for (size_t block = 0; block < blocks; ++block) {
    for (size_t stripe = 0; stripe < kBlockStripes; ++stripe) step(stripe);
    sums = Scramble(sums, key + kSecretBytes - kStripeBytes);
  }
  const size_t stripes =
      (from.size() - 1 - blocks * kBlockBytes) / kStripeBytes;
  for (size_t stripe = 0; stripe < stripes; ++stripe) step(stripe);
  // The last stripe overlaps the one before. Its head was stored already, and
  // must be summed as it was stored.
  const size_t left = static_cast<size_t>(from.data() + from.size() - in);
  std::memcpy(out, in, left);
  if constexpr (kStore != Store::kPlain) _mm_sfence();
  const __m512i last = _mm512_loadu_si512(to + from.size() - kStripeBytes);
  sums = AddStripe(sums, last, key + kSecretBytes - kStripeBytes - 7);
  _mm512_store_si512(lanes.sums.data(), sums);
  return Digest(lanes, from.size());
}

#endif

}  // namespace

Checksum128 CopyXxh3_128(absl::Span<const std::byte> from, std::byte* to,
                         uint64_t seed) {
  // What xxHash calls long; shorter inputs are summed in another way.
  constexpr size_t kLongBytes = 241;
  if (from.size() < kLongBytes) {
    if (!from.empty()) std::memcpy(to, from.data(), from.size());
    return Xxh3_128({to, from.size()}, seed);
  }
#if defined(__x86_64__)
  static const bool has_avx512 = __builtin_cpu_supports("avx512f") != 0;
  if (has_avx512) {
    const auto place = reinterpret_cast<uintptr_t>(to);
    if (from.size() >= kStreamBytesMin && place % 64 == 0) {
      return CopyAvx512<Store::kStream64>(from, to, seed);
    }
    if (from.size() >= kStreamBytesMin && place % 16 == 0) {
      return CopyAvx512<Store::kStream16>(from, to, seed);
    }
    return CopyAvx512<Store::kPlain>(from, to, seed);
  }
#endif
  return CopyInSteps(from, to, seed);
}

}  // namespace banyan
