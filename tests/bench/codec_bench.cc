// R12: what codecs cost. Layers of 64 tokens of 8 heads of 128 elements, keys
// and values, are encoded and decoded by one thread, against memcpy of the same
// fp16 bytes; all of it out of more memory than the caches near the core hold,
// and into more. R12v is decoding with the checksum, as readers do it.
#include <cstring>
#include <iostream>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "hwy/aligned_allocator.h"
#include "tests/bench/harness/arguments.h"
#include "tests/bench/harness/comparison.h"
#include "tests/bench/harness/timing.h"
#include "tests/testing/codec_cases.h"

namespace banyan::bench {
namespace {

using codec::BlockCodec;
using codec::ElementType;

constexpr uint64_t kPosition = 4096;

// Layers one after the other in memory, and what they are copied to.
class Layers {
 public:
  explicit Layers(const Arguments& arguments)
      : count_(arguments.is_tiny ? 2 : 1024),
        layout_(testing::CodecLayout(TokenOrder::kNhd, 64, 8, 128)),
        from_memory_(hwy::AllocateAligned<std::byte>(count_ * stride_bytes())),
        to_memory_(hwy::AllocateAligned<std::byte>(count_ * stride_bytes())),
        from_(from_memory_.get(), count_ * stride_bytes()),
        to_(to_memory_.get(), count_ * stride_bytes()) {
    FillSources(Layer());
    std::memset(to_.data(), 1, to_.size());
  }

  // What every source is, until it is filled with something else.
  std::vector<std::byte> Layer() const {
    return testing::SomeLayer(layout_, ElementType::kFp16, 1);
  }

  // Puts these bytes where every source layer begins.
  void FillSources(const std::vector<std::byte>& bytes) {
    for (uint64_t i = 0; i < count_; ++i) {
      std::memcpy(&from_[i * stride_bytes()], bytes.data(), bytes.size());
    }
  }

  uint64_t layer_bytes() const { return layout_.layer_bytes(); }
  const KvLayout& layout() const { return layout_; }

  // For the head and the prefix of a layer that got no smaller.
  static constexpr uint64_t kRoomBytes = 4096;

  // GB/s of fp16 bytes that body(source, target) gets through, which reads
  // and writes layers, or less, or kRoomBytes more.
  template <typename Body>
  double Measure(double seconds, const Body& body) {
    uint64_t bytes = 0;
    const Timing timing = TimeCalls(seconds, [&] {
      const uint64_t at = next_++ % count_ * stride_bytes();
      body(from_.subspan(at, stride_bytes()), to_.subspan(at, stride_bytes()));
      bytes += layer_bytes();
    });
    return static_cast<double>(bytes) / timing.seconds / 1e9;
  }

 private:
  uint64_t stride_bytes() const { return layer_bytes() + kRoomBytes; }

  uint64_t count_;
  KvLayout layout_;
  hwy::AlignedFreeUniquePtr<std::byte[]> from_memory_;
  hwy::AlignedFreeUniquePtr<std::byte[]> to_memory_;
  absl::Span<std::byte> from_;
  absl::Span<std::byte> to_;
  uint64_t next_ = 0;
};

struct Pace {
  std::string id;  // Of encoding; decoding has a "d" behind it.
  std::string spec;
  double encode_floor;
  double encode_goal;
  double decode_floor;
  double decode_goal;
};

const std::vector<Pace>& Paces() {
  static const auto* const paces = new std::vector<Pace>{
      {"R12", "int4", 0.5, 0.85, 1.2, 2.0},
      {"R12i8", "int8", 0.5, 0.85, 1.0, 1.5},
      {"R12i2", "int2", 0.5, 0.85, 0.8, 2.0},
      {"R12c4", "int4:channel", 0.5, 0.85, 1.0, 2.0},
      {"R12f8", "fp8", 0.5, 0.85, 0.6, 1.5},
      {"R12l4", "k=rotlm4:white:pre,v=rotlm4", 0.1, 0.5, 0.2, 1.0},
      {"R12l3", "k=rotlm3:white:pre,v=rotlm3", 0.1, 0.5, 0.2, 1.0},
      {"R12l2", "k=rotlm2:white:pre,v=rotlm2", 0.1, 0.5, 0.2, 1.0},
      {"R12n4", "k=nuq4:channel:pre,v=nuq4", 0.02, 0.2, 0.05, 0.5},
      {"R12n3", "k=nuq3:channel:pre,v=nuq3", 0.02, 0.2, 0.05, 0.5},
      {"R12n2", "k=nuq2:channel:pre,v=nuq2", 0.02, 0.2, 0.05, 0.5},
      {"R12t4", "k=kvarn4:channel,v=kvarn4", 0.005, 0.03, 0.05, 0.5},
      {"R12t2", "k=kvarn4:channel,v=kvarn2", 0.005, 0.03, 0.05, 0.5},
      {"R12z", "lossless", 0.02, 0.1, 0.05, 0.3},
      {"R12k3", "k=cold3:pre,v=cold3", 0.0001, 0.002, 0.0005, 0.01},
      {"R12k2", "k=cold2:pre,v=cold2", 0.0001, 0.002, 0.0005, 0.01}};
  return *paces;
}

// A codec at work. Encoded layers lie where the source or the target begins.
class Subject {
 public:
  Subject(const std::string& spec, const Layers& layers)
      : codec_(testing::MakeCodec(spec, layers.layout())),
        work_(codec_->MakeWorkspace()),
        room_bytes_(codec_->EncodedLayerBytes(kPosition)) {}

  void StartEncoding() { Check(codec_->StartEncoding(kPosition, work_)); }
  void StartDecoding() { Check(codec_->StartDecoding(kPosition, work_)); }

  void Encode(absl::Span<const std::byte> from, absl::Span<std::byte> to) {
    const auto bytes = codec_->EncodeLayerSized(
        from.first(codec_->layer_bytes()), work_, to.first(room_bytes_));
    Check(bytes.status());
    encoded_bytes_ = *bytes;
  }

  void Decode(absl::Span<const std::byte> from, absl::Span<std::byte> to) {
    Check(codec_->DecodeLayer(from.first(encoded_bytes_), work_,
                              to.first(codec_->layer_bytes())));
  }

  void DecodeVerified(absl::Span<const std::byte> from,
                      absl::Span<std::byte> to) {
    Check(codec_->DecodeLayerVerified(from.first(encoded_bytes_),
                                      {.seed = 1, .expected = sum_}, work_,
                                      to.first(codec_->layer_bytes())));
  }

  // Puts an encoded layer where every source layer begins.
  void FillSources(Layers& layers) {
    std::vector<std::byte> encoded(room_bytes_);
    StartEncoding();
    Encode(layers.Layer(), absl::MakeSpan(encoded));
    encoded.resize(encoded_bytes_);
    sum_ = Xxh3_128(encoded, 1);
    layers.FillSources(encoded);
  }

 private:
  static void Check(const absl::Status& status) { BANYAN_CHECK(status.ok()); }

  std::unique_ptr<BlockCodec> codec_;
  BlockCodec::Workspace work_;
  uint64_t room_bytes_;
  uint64_t encoded_bytes_ = 0;  // Of the layer that was encoded last.
  Checksum128 sum_;
};

// What a loop without SIMD makes of a group of 64: minimum, scale and codes. The
// floats are there already, which is to its favour.
void EncodePlainGroup(const float* x, uint8_t* to) {
  float low = x[0];
  float high = x[0];
  for (int i = 1; i < 64; ++i) {
    low = x[i] < low ? x[i] : low;
    high = x[i] > high ? x[i] : high;
  }
  const float scale = (high - low) / 15;
  const float inverse = scale > 0 ? 1 / scale : 0;
  std::memcpy(to, &scale, 4);
  std::memcpy(to + 4, &low, 4);
  for (int i = 0; i < 32; ++i) {
    const auto a = static_cast<int>((x[i] - low) * inverse + 0.5f);
    const auto b = static_cast<int>((x[i + 32] - low) * inverse + 0.5f);
    to[8 + i] = static_cast<uint8_t>(a | b << 4);
  }
}

double MeasurePlain(const Layers& layers, double seconds) {
  const std::vector<double> values =
      testing::Values(ElementType::kFp16, layers.Layer());
  const std::vector<float> floats(values.begin(), values.end());
  std::vector<uint8_t> encoded(floats.size());
  uint64_t bytes = 0;
  const Timing timing = TimeCalls(seconds, [&] {
    for (size_t at = 0; at < floats.size(); at += 64) {
      EncodePlainGroup(&floats[at], &encoded[at]);
    }
    bytes += layers.layer_bytes();
  });
  BANYAN_CHECK(encoded[8] != encoded[9]);
  return static_cast<double>(bytes) / timing.seconds / 1e9;
}

// A side that works on layers: body(source, target).
template <typename Body>
Side SideOf(const std::string& name, const Arguments& arguments, Layers& layers,
            const Body& body) {
  return {.name = name, .unit = "GB/s", .measure = [&arguments, &layers, body] {
            return layers.Measure(arguments.seconds(), body);
          }};
}

Side Copy(const Arguments& arguments, Layers& layers) {
  return SideOf("memcpy", arguments, layers, [&layers](auto from, auto to) {
    std::memcpy(to.data(), from.data(), layers.layer_bytes());
  });
}

nlohmann::ordered_json MeasureEncoding(const Pace& pace,
                                       const Arguments& arguments,
                                       Layers& layers) {
  Subject subject(pace.spec, layers);
  layers.FillSources(layers.Layer());
  subject.StartEncoding();
  const Side encode =
      SideOf("encode", arguments, layers,
             [&](auto from, auto to) { subject.Encode(from, to); });
  auto results =
      Compare({.id = pace.id,
               .what = pace.spec + " encode / memcpy of the fp16 bytes",
               .unit = "ratio",
               .floor = pace.encode_floor,
               .goal = pace.encode_goal},
              arguments, encode, Copy(arguments, layers), {});
  if (pace.id != "R12") return results;
  results.update(Compare(
      {.id = "R12s",
       .what = pace.spec + " encode / a loop without SIMD",
       .unit = "ratio",
       .floor = 2,
       .goal = 4},
      arguments, encode,
      {.name = "plain loop",
       .unit = "GB/s",
       .measure = [&] { return MeasurePlain(layers, arguments.seconds()); }},
      {}));
  return results;
}

nlohmann::ordered_json MeasureDecoding(const Pace& pace,
                                       const Arguments& arguments,
                                       Layers& layers) {
  Subject subject(pace.spec, layers);
  subject.FillSources(layers);
  subject.StartDecoding();
  auto results =
      Compare({.id = pace.id + "d",
               .what = pace.spec + " decode / memcpy of the fp16 bytes",
               .unit = "ratio",
               .floor = pace.decode_floor,
               .goal = pace.decode_goal},
              arguments,
              SideOf("decode", arguments, layers,
                     [&](auto from, auto to) { subject.Decode(from, to); }),
              Copy(arguments, layers), {});
  if (pace.id != "R12") return results;
  results.update(Compare(
      {.id = "R12v",
       .what = pace.spec + " decode with the checksum / the same memcpy",
       .unit = "ratio",
       .floor = 0.9,
       .goal = 1.8},
      arguments,
      SideOf("decode, verified", arguments, layers,
             [&](auto from, auto to) { subject.DecodeVerified(from, to); }),
      Copy(arguments, layers), {}));
  return results;
}

}  // namespace
}  // namespace banyan::bench

int main(int argc, char** argv) {
  using namespace banyan::bench;
  const Arguments arguments = ParseArguments(argc, argv);
  Layers layers(arguments);
  nlohmann::ordered_json results;
  for (const Pace& pace : Paces()) {
    results.update(MeasureEncoding(pace, arguments, layers));
    results.update(MeasureDecoding(pace, arguments, layers));
  }
  std::cout << results.dump() << "\n";
  return 0;
}
