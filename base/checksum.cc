#include "base/checksum.h"

#include "absl/strings/str_format.h"
#include "base/bytes.h"
#include "xxhash.h"
#if defined(__x86_64__)
#include "xxh_x86dispatch.h"  // Picks AVX2 or AVX-512 at run time.
#endif

namespace banyan {

Xxh3Sum::Xxh3Sum(uint64_t seed) : state_(XXH3_createState()) { Restart(seed); }

void Xxh3Sum::Restart(uint64_t seed) {
  XXH3_128bits_reset_withSeed(static_cast<XXH3_state_t*>(state_.get()), seed);
}

void Xxh3Sum::Free::operator()(void* state) const {
  XXH3_freeState(static_cast<XXH3_state_t*>(state));
}

void Xxh3Sum::Add(absl::Span<const std::byte> part) {
  XXH3_128bits_update(static_cast<XXH3_state_t*>(state_.get()), part.data(),
                      part.size());
}

Checksum128 Xxh3Sum::Sum() const {
  const XXH128_hash_t hash =
      XXH3_128bits_digest(static_cast<const XXH3_state_t*>(state_.get()));
  return {.low = hash.low64, .high = hash.high64};
}

Checksum128 Xxh3_128(absl::Span<const std::byte> bytes, uint64_t seed) {
  const XXH128_hash_t hash =
      XXH3_128bits_withSeed(bytes.data(), bytes.size(), seed);
  return {.low = hash.low64, .high = hash.high64};
}

uint64_t Xxh3_64(absl::Span<const std::byte> bytes, uint64_t seed) {
  return XXH3_64bits_withSeed(bytes.data(), bytes.size(), seed);
}

std::string ToHex(const Checksum128& checksum) {
  return absl::StrFormat("%016x%016x", checksum.high, checksum.low);
}

void StoreChecksum(const Checksum128& checksum, std::byte* out) {
  StoreLe64(checksum.low, out);
  StoreLe64(checksum.high, out + 8);
}

Checksum128 LoadChecksum(const std::byte* in) {
  return {.low = LoadLe64(in), .high = LoadLe64(in + 8)};
}

}  // namespace banyan
