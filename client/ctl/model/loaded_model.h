// A model and its tokenizer, read from files, and how Banyan is told of it.
#pragma once

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "base/fingerprint.h"
#include "client/ctl/model/llama.h"
#include "client/ctl/model/tokenizer.h"

namespace banyan::ctl {

// Relative to the repository: what a clone brings along.
inline constexpr char kDefaultModelPath[] =
    "tests/testing/models/stories260K/stories260K.bin";
inline constexpr char kDefaultVocabularyName[] = "tok512.bin";

struct LoadedModel {
  std::string name;      // Of the file, without its folder and its end.
  std::string revision;  // SHA-256 of the files, in hex.
  Llama llama;
  std::unique_ptr<Tokenizer> tokenizer;
};

// Reads a GGUF file, or a checkpoint of llama2.c and its vocabulary; an empty
// path of the latter means kDefaultVocabularyName in the folder of the former.
// Errors: kNotFound; kInvalidArgument reason MODEL.
absl::StatusOr<LoadedModel> LoadModel(const std::string& path,
                                      const std::string& vocabulary_path);

// Everything that changes the bytes of a block of this model's.
Fingerprint FingerprintOf(const LoadedModel& model, ElementType type,
                          uint32_t block_tokens);

// The whole file. Errors: kNotFound.
absl::StatusOr<std::string> ReadFile(const std::string& path);

}  // namespace banyan::ctl
