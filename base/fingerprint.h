// A Fingerprint names everything that changes the bytes of a block. Engines
// share blocks if and only if their fingerprints are equal.
//
// Format: canonical CBOR map (RFC 8949, section 4.2.1) from the field names
//         below to their values; the digest is the first 16 bytes of its
//         SHA-256. docs/formats/fingerprint.md.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"

namespace banyan {

struct Fingerprint {
  std::string model;
  std::string revision;
  std::string quantization;
  std::string adapter;
  std::string hash_algorithm;
  std::string hash_seed_digest;
  std::string data_type;  // "bf16", "fp16", "fp32", "fp8", "int8" or "".
  std::string layout;     // "nhd", "hnd" or "opaque".
  uint32_t layers = 0;    // 0 if and only if layout is "opaque".
  uint32_t kv_heads = 0;
  uint32_t head_dim = 0;
  uint32_t planes = 0;  // 2: K and V; 1: one latent tensor.
  uint32_t block_tokens = 0;
  uint32_t tp_size = 0;
  uint32_t pp_size = 0;
  uint32_t rank = 0;
  std::string engine;
  uint32_t serde_version = 0;
  // How blocks are encoded, as stored and as they travel: a codec spec
  // (kernels/codec/codec_spec.h) in its shortest form. Empty: they are not.
  std::string kv_codec;
  // SHA-256 of the calibration that kv_codec works with; empty if it wants none.
  std::string calibration_digest;

  friend bool operator==(const Fingerprint&, const Fingerprint&) = default;
};

// kInvalidArgument naming the first field that is wrong by itself.
absl::Status ValidateFingerprint(const Fingerprint& fingerprint);

std::string CanonicalCbor(const Fingerprint& fingerprint);

// kFingerprintBytes of digest.
std::string FingerprintDigest(const Fingerprint& fingerprint);

// Names of the fields that differ, in the order above.
std::vector<std::string> DifferingFields(const Fingerprint& a,
                                         const Fingerprint& b);

}  // namespace banyan
