#include "client/ctl/trace.h"

#include <zstd.h>

#include <fstream>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "base/error.h"
#include "base/status_macros.h"

namespace banyan::ctl {
namespace {

constexpr size_t kBlocksMax = 65536;  // Of one prompt: keys of one call.
constexpr size_t kTextBytesMax = size_t{4} << 30;

absl::Status Bad(absl::string_view message) {
  return MakeError(absl::StatusCode::kInvalidArgument, "TRACE", message);
}

absl::StatusOr<std::string> Decompress(absl::string_view name,
                                       const std::string& packed) {
  const std::unique_ptr<ZSTD_DCtx, decltype(&ZSTD_freeDCtx)> context(
      ZSTD_createDCtx(), &ZSTD_freeDCtx);
  std::string out;
  std::vector<char> part(ZSTD_DStreamOutSize());
  ZSTD_inBuffer in = {packed.data(), packed.size(), 0};
  size_t left = 1;
  while (in.pos < in.size) {
    ZSTD_outBuffer to = {part.data(), part.size(), 0};
    left = ZSTD_decompressStream(context.get(), &to, &in);
    if (ZSTD_isError(left) || out.size() > kTextBytesMax) {
      return Bad(absl::StrCat(name, ": not a zstd file, or damaged."));
    }
    out.append(part.data(), to.pos);
  }
  if (left != 0) return Bad(absl::StrCat(name, ": the zstd file is cut off."));
  return out;
}

absl::StatusOr<TraceRequest> ParseLine(const std::string& where,
                                       const std::string& line) {
  const auto json = nlohmann::json::parse(line, nullptr, false);
  if (!json.is_object())
    return Bad(absl::StrCat(where, ": not a JSON object."));
  const auto ids = json.find("hash_ids");
  if (ids == json.end() || !ids->is_array() || ids->size() > kBlocksMax) {
    return Bad(absl::StrCat(where, ": hash_ids: want an array of up to ",
                            kBlocksMax, " numbers."));
  }
  TraceRequest request;
  for (const auto& id : *ids) {
    if (!id.is_number_integer()) {
      return Bad(absl::StrCat(where, ": hash_ids: want whole numbers."));
    }
    request.blocks.push_back(id.get<uint64_t>());
  }
  const std::pair<const char*, uint64_t*> numbers[] = {
      {"timestamp", &request.timestamp_ms},
      {"input_length", &request.input_tokens},
      {"output_length", &request.output_tokens}};
  for (const auto& [name, out] : numbers) {
    const auto found = json.find(name);
    if (found == json.end()) continue;
    const bool is_fit = found->is_number() && found->get<double>() >= 0 &&
                        found->get<double>() < 9e15;
    if (!is_fit) {
      return Bad(absl::StrCat(where, ": ", name, ": want a number >= 0."));
    }
    *out = static_cast<uint64_t>(found->get<double>());
  }
  return request;
}

}  // namespace

absl::StatusOr<std::vector<TraceRequest>> ParseTrace(absl::string_view name,
                                                     const std::string& text) {
  std::vector<TraceRequest> requests;
  std::istringstream lines(text);
  std::string line;
  for (size_t number = 1; std::getline(lines, line); ++number) {
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    BANYAN_ASSIGN_OR_RETURN(TraceRequest request,
                            ParseLine(absl::StrCat(name, ":", number), line));
    if (!request.blocks.empty()) requests.push_back(std::move(request));
  }
  if (requests.empty()) return Bad(absl::StrCat(name, ": has no requests."));
  return requests;
}

absl::StatusOr<std::vector<TraceRequest>> ReadTrace(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) {
    return MakeError(absl::StatusCode::kNotFound, "TRACE",
                     absl::StrCat("trace: cannot read \"", Echo(path),
                                  "\". Check the path."));
  }
  std::ostringstream bytes;
  bytes << file.rdbuf();
  if (!absl::EndsWith(path, ".zst")) return ParseTrace(path, bytes.str());
  BANYAN_ASSIGN_OR_RETURN(const std::string text,
                          Decompress(path, bytes.str()));
  return ParseTrace(path, text);
}

}  // namespace banyan::ctl
