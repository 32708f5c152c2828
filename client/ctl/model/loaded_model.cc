#include "client/ctl/model/loaded_model.h"

#include <filesystem>
#include <fstream>
#include <iterator>
#include <utility>

#include "absl/strings/escaping.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/bytes.h"
#include "base/error.h"
#include "base/sha256.h"
#include "base/status_macros.h"
#include "client/ctl/model/gguf_model.h"
#include "client/ctl/model/llama2c.h"

namespace banyan::ctl {
namespace {

std::string DigestOf(std::initializer_list<absl::string_view> files) {
  const Sha256Digest digest = Sha256(files);
  return absl::BytesToHexString(AsText(digest));
}

absl::StatusOr<LoadedModel> LoadGguf(const std::filesystem::path& path,
                                     const std::string& bytes) {
  BANYAN_ASSIGN_OR_RETURN(const GgufFile file, GgufFile::Parse(AsBytes(bytes)));
  BANYAN_ASSIGN_OR_RETURN(auto tokenizer, TokenizerOfGguf(file));
  BANYAN_ASSIGN_OR_RETURN(Llama llama, LlamaOfGguf(file));
  return LoadedModel{.name = path.stem().string(),
                     .revision = DigestOf({bytes}),
                     .llama = std::move(llama),
                     .tokenizer = std::move(tokenizer)};
}

}  // namespace

absl::StatusOr<std::string> ReadFile(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  std::string bytes(std::istreambuf_iterator<char>(file), {});
  if (!file.is_open() || file.bad()) {
    return absl::NotFoundError(
        absl::StrCat("file: cannot read \"", Echo(path), "\". Check the path; ",
                     "those of this repository are relative to it."));
  }
  return bytes;
}

absl::StatusOr<LoadedModel> LoadModel(const std::string& path,
                                      const std::string& vocabulary_path) {
  const std::filesystem::path file(path);
  BANYAN_ASSIGN_OR_RETURN(const std::string model, ReadFile(path));
  if (absl::StartsWith(model, "GGUF")) return LoadGguf(file, model);
  BANYAN_ASSIGN_OR_RETURN(Llama llama, ParseLlama2cModel(AsBytes(model)));
  BANYAN_ASSIGN_OR_RETURN(
      const std::string vocabulary,
      ReadFile(vocabulary_path.empty()
                   ? (file.parent_path() / kDefaultVocabularyName).string()
                   : vocabulary_path));
  BANYAN_ASSIGN_OR_RETURN(
      auto tokenizer,
      ParseLlama2cVocabulary(AsBytes(vocabulary), llama.shape().vocabulary));
  return LoadedModel{.name = file.stem().string(),
                     .revision = DigestOf({model, vocabulary}),
                     .llama = std::move(llama),
                     .tokenizer = std::move(tokenizer)};
}

Fingerprint FingerprintOf(const LoadedModel& model, ElementType type,
                          uint32_t block_tokens) {
  const LlamaShape& shape = model.llama.shape();
  return {.model = model.name,
          .revision = model.revision,
          .hash_algorithm = "banyan.key.v1",
          .data_type = type == ElementType::kFp32 ? "fp32" : "fp16",
          .layout = "nhd",
          .layers = shape.layers,
          .kv_heads = shape.kv_heads,
          .head_dim = shape.head_dim(),
          .planes = 2,
          .block_tokens = block_tokens,
          .engine = "banyanctl",
          .serde_version = 1};
}

}  // namespace banyan::ctl
