// Goal: whatever codec a namespace names, for its clients or for the node's SSD, a
// block that was written, moved to disk and read, before a restart and after it, is
// to the byte what the codec makes of it, and no farther from what was written than
// the node says. A reader that demands more than a block is misses it, on every
// transport, and never gets it.
// Method: made-up numbers that follow from a block's name, a node in this process
// with memory for half of them, and the codec applied here beside it.
#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "base/error.h"
#include "base/representation.h"
#include "client/cpp/client.h"
#include "kernels/codec/calibrate.h"
#include "kernels/codec/calibrated_codec.h"
#include "tests/integration/node.h"
#include "tests/testing/codec_cases.h"
#include "tests/testing/temp_directory.h"

namespace banyan {
namespace {

using codec::ElementType;

constexpr uint32_t kLayers = 2;
constexpr uint32_t kTokens = 16;
constexpr uint32_t kHeads = 4;
constexpr uint32_t kDim = 32;
constexpr size_t kLayerBytes = size_t{2} * 2 * kTokens * kHeads * kDim;
constexpr size_t kBlockBytes = kLayers * kLayerBytes;
constexpr uint64_t kMemoryBytes = 2 * kMiB;
// More than memory has room for, so that all kinds of blocks go to disk.
constexpr uint32_t kBlocks = 2 * kMemoryBytes / kBlockBytes;

using Block = std::vector<std::byte>;

Fingerprint FingerprintWith(std::string kv_codec) {
  return {.model = "made-up",
          .hash_algorithm = "test",
          .data_type = "fp16",
          .layout = "nhd",
          .layers = kLayers,
          .kv_heads = kHeads,
          .head_dim = kDim,
          .planes = 2,
          .block_tokens = kTokens,
          .kv_codec = std::move(kv_codec)};
}

KvLayout Layout() { return *KvLayout::Of(FingerprintWith("")); }

// Block i: numbers that follow from it, of channels that differ.
Block BlockNo(uint32_t i) {
  Block block;
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    const Block part = testing::SomeLayer(Layout(), ElementType::kFp16,
                                          uint64_t{i} * kLayers + layer + 7);
    block.insert(block.end(), part.begin(), part.end());
  }
  return block;
}

// Serialized; empty for specs that want none.
std::string CalibrationOf(const std::string& spec) {
  const auto parsed = *codec::ParseBlockSpec(spec);
  if (!codec::WantsCalibration(parsed)) return "";
  const auto calibrator = *codec::Calibrator::Make({.spec = parsed,
                                                    .layout = Layout(),
                                                    .type = ElementType::kFp16,
                                                    .layers = kLayers});
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    for (uint64_t seed = 0; seed < 8; ++seed) {
      const Block samples = testing::SomeLayer(Layout(), ElementType::kFp16,
                                               1000 + seed * kLayers + layer);
      EXPECT_TRUE(calibrator->Add(layer, 64, samples).ok());
    }
  }
  return std::string(AsText((*calibrator->Finish()).Serialize()));
}

// What the codec makes of a block, computed here.
class Reference {
 public:
  explicit Reference(const std::string& spec)
      : calibration_(CalibrationOf(spec)),
        codec_(*codec::MakeBlockCodec({.spec = *codec::ParseBlockSpec(spec),
                                       .layout = Layout(),
                                       .type = ElementType::kFp16},
                                      AsBytes(calibration_))),
        work_(codec_->MakeWorkspace()) {}

  const std::string& calibration() const { return calibration_; }

  Block Decoded(const Block& block, uint32_t i) {
    const uint64_t position = uint64_t{i} * kTokens;
    Block encoded(codec_->EncodedLayerBytes(position));
    Block decoded(block.size());
    for (uint32_t layer = 0; layer < kLayers; ++layer) {
      const auto from =
          absl::MakeConstSpan(block).subspan(layer * kLayerBytes, kLayerBytes);
      EXPECT_TRUE(codec_->StartEncoding(position, work_).ok());
      EXPECT_TRUE(codec_->SetLayer(layer, work_).ok());
      const auto length =
          codec_->EncodeLayerSized(from, work_, absl::MakeSpan(encoded));
      EXPECT_TRUE(length.ok()) << length.status();
      EXPECT_TRUE(codec_->StartDecoding(position, work_).ok());
      EXPECT_TRUE(codec_->SetLayer(layer, work_).ok());
      EXPECT_TRUE(codec_
                      ->DecodeLayer(absl::MakeSpan(encoded).first(*length),
                                    work_,
                                    absl::MakeSpan(decoded).subspan(
                                        layer * kLayerBytes, kLayerBytes))
                      .ok());
    }
    return decoded;
  }

 private:
  const std::string calibration_;
  const std::unique_ptr<codec::BlockCodec> codec_;
  codec::BlockCodec::Workspace work_;
};

// Squared error over squared size.
double ErrorOf(const Block& block, const Block& decoded) {
  const auto was = testing::Values(ElementType::kFp16, block);
  const auto is = testing::Values(ElementType::kFp16, decoded);
  double error = 0;
  double squares = 0;
  for (size_t i = 0; i < was.size(); ++i) {
    error += (was[i] - is[i]) * (was[i] - is[i]);
    squares += was[i] * was[i];
  }
  return error / squares;
}

class CodecEndToEndTest : public ::testing::Test {
 protected:
  void Start(TransportKind transport = TransportKind::kGrpc) {
    client_ = nullptr;
    server_ = nullptr;
    server::Config config = testing::SmallConfig(kMemoryBytes);
    config.ssd_dirs = {directory_.path()};
    config.ssd_bytes = 128 * kMiB;
    config.ssd_segment_bytes = 8 * kMiB;
    config.eviction = "lru";  // Lets all in.
    config.is_ucx_off = transport != TransportKind::kUcx;
    if (!config.is_ucx_off) config.ucx_port = 0;
    auto server = server::Server::Start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    auto client = Client::Connect(
        {.endpoint = testing::EndpointOf(*server_), .transport = transport});
    client_ = *std::move(client);
    ASSERT_TRUE(client_->WaitReady(5000).ok());
  }

  void Open(const Fingerprint& fingerprint, const NamespaceOptions& options) {
    const auto opened = client_->OpenNamespace("all", fingerprint, options);
    ASSERT_TRUE(opened.ok()) << opened.status();
    ns_ = opened->id;
  }

  void PutAll(Durability durability = Durability::kMemory) {
    for (uint32_t i = 0; i < kBlocks; ++i) {
      const Block block = BlockNo(i);
      const std::vector<std::span<const std::byte>> payloads{block};
      ASSERT_TRUE(
          client_
              ->Put(ns_, {.keys = keys_}, i, payloads,
                    {.piece_bytes = kLayerBytes, .durability = durability})
              .status.ok());
      ASSERT_TRUE(testing::PollUntil([&] {
        const tiers::TierUsage usage = server_->store().HostUsage();
        return usage.used_bytes < usage.capacity_bytes * 19 / 20;
      }));
    }
  }

  // Block i, or nothing.
  std::optional<Block> Read(uint32_t i, const GetOptions& options = {}) {
    Block block(kBlockBytes);
    const Completion got =
        client_->Get(ns_, {.keys = keys_}, i,
                     std::vector<std::span<std::byte>>{block}, options);
    EXPECT_TRUE(got.status.ok()) << got.status;
    if (got.hit_blocks == 0) {
      EXPECT_EQ(got.reads.at(0), ReadResult::kMiss);
      return std::nullopt;
    }
    return block;
  }

  engine::BlockStore::BlockFacts FactsOf(uint32_t i) {
    const std::string_view key = testing::KeyNo(keys_, i);
    const auto facts = server_->store().Stat(
        "all", "", {*BlockKey::FromBytes({key.data(), key.size()})});
    EXPECT_TRUE(facts.ok() && (*facts)[0].is_stored);
    return (*facts)[0];
  }

  uint64_t Count(std::string_view name) {
    return testing::Reading(*server_, name);
  }

  testing::TempDirectory directory_;
  std::unique_ptr<server::Server> server_;
  std::unique_ptr<Client> client_;
  const std::string keys_ = testing::ChainKeys("chain", kBlocks);
  std::string ns_;
};

class KvCodecTest : public CodecEndToEndTest,
                    public ::testing::WithParamInterface<const char*> {};

TEST_P(KvCodecTest, WhatComesBackIsWhatTheCodecMakesOfIt) {
  const std::string spec = GetParam();
  Reference reference(spec);
  Fingerprint fingerprint = FingerprintWith(spec);
  Start();
  Open(fingerprint, {.calibration = reference.calibration()});
  PutAll(Durability::kDurable);
  // Whoever comes later has the calibration from the node, if it is named.
  const auto described = server_->store().namespaces().FindByName("all");
  fingerprint = (*described)->fingerprint;
  for (const bool is_again : {false, true}) {
    if (is_again) {
      Start();
      Open(fingerprint, {});
    }
    for (uint32_t i = 0; i < kBlocks; ++i) {
      const Block block = BlockNo(i);
      const auto read = Read(i);
      ASSERT_TRUE(read.has_value()) << "block " << i << ", " << is_again;
      ASSERT_EQ(*read, reference.Decoded(block, i)) << "block " << i;
      const auto error_class = FactsOf(i).error_class;
      ASSERT_TRUE(error_class.has_value());
      const double error = ErrorOf(block, *read);
      EXPECT_LE(error, ErrorBound(*error_class) * 1.0001);
      EXPECT_GE(error, ErrorBound(*error_class) / 1.2);
    }
    EXPECT_EQ(client_->stats().found_wrong(), 0u);
    EXPECT_EQ(Count("banyan_read_misses_total{reason=\"quality\"}"), 0u);
  }
  EXPECT_GT(Count("banyan_fetch_blocks_total{tier=\"ssd\"}"), 0u);
}

class SsdCodecTest : public CodecEndToEndTest,
                     public ::testing::WithParamInterface<const char*> {};

TEST_P(SsdCodecTest, WhatComesFromDiskIsWhatTheCodecMadeOfIt) {
  const std::string spec = GetParam();
  Reference reference(spec);
  const bool is_lossless = spec == "lossless";
  Start();
  Open(FingerprintWith(""), {.calibration = reference.calibration(),
                             .ssd_codec = spec,
                             .ssd_error_max = 0.3});
  PutAll();
  ASSERT_GT(Count("banyan_ssd_encoding_total{result=\"encoded\"}"), 0u);
  ASSERT_EQ(Count("banyan_ssd_encoding_total{result=\"as_it_is\"}"), 0u);
  const uint64_t on_disk =
      Count("banyan_ssd_encoding_total{result=\"encoded\"}");
  for (const bool is_again : {false, true}) {
    if (is_again) {
      Start();
      Open(FingerprintWith(""), {});
    }
    uint32_t decoded = 0;
    uint32_t missed = 0;  // Those that were in memory only.
    for (uint32_t i = 0; i < kBlocks; ++i) {
      const Block block = BlockNo(i);
      const auto read = Read(i);
      if (!read.has_value()) {
        ++missed;
        continue;
      }
      if (is_again || *read != block) {
        ASSERT_EQ(*read, reference.Decoded(block, i)) << "block " << i;
        ++decoded;
      }
      const auto facts = FactsOf(i);
      const double error = ErrorOf(block, *read);
      ASSERT_TRUE(facts.error_class.has_value());
      EXPECT_LE(error, ErrorBound(*facts.error_class) * 1.0001);
      EXPECT_EQ(*facts.error_class == 0, error == 0);

      // As good as it is, and not a class better.
      EXPECT_EQ(Read(i, {.error_max = 0}).has_value(), error == 0);
      EXPECT_TRUE(Read(i, {.error_max = kErrorMax}).has_value());
      if (error == 0) continue;
      EXPECT_TRUE(Read(i, {.error_max = error * 1.2}) == read);
      EXPECT_FALSE(Read(i, {.error_max = error * 0.8}).has_value());
    }
    EXPECT_LE(missed, is_again ? kBlocks - on_disk : 0);
    EXPECT_GE(decoded, is_lossless ? 0u : 1u);
    EXPECT_EQ(client_->stats().found_wrong(), 0u);
    EXPECT_EQ(Count("banyan_read_misses_total{reason=\"quality\"}") > 0,
              !is_lossless);
  }
}

class QualityTest : public CodecEndToEndTest,
                    public ::testing::WithParamInterface<TransportKind> {
 protected:
  static constexpr char kMisses[] =
      "banyan_read_misses_total{reason=\"quality\"}";
};

TEST_P(QualityTest, BlocksOfAKvCodecAreAsGoodAsTheyWereMeasured) {
  Start(GetParam());
  Open(FingerprintWith("int4"), {});
  Block with_nan = BlockNo(2);
  StoreLe16(0x7E00, with_nan.data());
  const std::vector<Block> blocks{BlockNo(0), BlockNo(1), with_nan};
  ASSERT_TRUE(
      client_->Put(ns_, {.keys = keys_}, 0, {blocks.begin(), blocks.end()}, {})
          .status.ok());
  const double error = ErrorOf(blocks[0], *Read(0));
  ASSERT_GT(error, 0);
  EXPECT_TRUE(Read(0, {.error_max = error * 1.2}).has_value());
  EXPECT_EQ(Count(kMisses), 0u);
  EXPECT_FALSE(Read(0, {.error_max = error * 0.8}).has_value());
  EXPECT_EQ(Count(kMisses), 1u);
  // What could not be encoded is what was written.
  EXPECT_TRUE(Read(2, {.error_max = 0}) == with_nan);
  // A prefix ends before the first that is too far off.
  std::vector<Block> read(3, Block(kBlockBytes));
  EXPECT_EQ(client_
                ->Get(ns_, {.keys = keys_}, 0, {read.begin(), read.end()},
                      {.error_max = 0})
                .hit_blocks,
            0u);
}

TEST_P(QualityTest, WhatNobodyMeasuredIsForReadersThatDoNotAsk) {
  Start(GetParam());
  Open(FingerprintWith("int4"), {.measures_error = false});
  const Block block = BlockNo(0);
  const std::vector<std::span<const std::byte>> payloads{block};
  ASSERT_TRUE(client_->Put(ns_, {.keys = keys_}, 0, payloads, {}).status.ok());
  EXPECT_FALSE(FactsOf(0).error_class.has_value());
  EXPECT_FALSE(Read(0, {.error_max = kErrorMax}).has_value());
  EXPECT_EQ(Count(kMisses), 1u);
  EXPECT_TRUE(Read(0).has_value());
}

TEST_P(QualityTest, ADemandThatIsNoneIsRefused) {
  Start(GetParam());
  Open(FingerprintWith(""), {});
  Block block(kBlockBytes);
  const std::vector<std::span<std::byte>> buffers{block};
  for (const double bad : {-0.1, 0.6, double{NAN}, double{INFINITY}}) {
    EXPECT_EQ(
        ErrorReason(
            client_->Get(ns_, {.keys = keys_}, 0, buffers, {.error_max = bad})
                .status),
        "QUALITY");
    EXPECT_EQ(ErrorReason(client_
                              ->GetLayers(ns_, {.keys = keys_}, 0, buffers,
                                          {.error_max = bad})
                              .status),
              "QUALITY");
  }
}

// Layers of blocks that came back from the disk a little off.
TEST_P(QualityTest, LayersAreOfBlocksThatAreGoodEnough) {
  Start(GetParam());
  Open(FingerprintWith(""), {.ssd_codec = "int4"});
  PutAll();
  Start(GetParam());
  Open(FingerprintWith(""), {});
  Block block(kBlockBytes);
  const std::vector<std::span<std::byte>> buffers{block};
  const auto hits = [&](std::optional<double> error_max, bool follow) {
    return client_
        ->GetLayers(ns_, {.keys = keys_}, 0, buffers,
                    {.follow = follow, .error_max = error_max})
        .hit_blocks;
  };
  EXPECT_EQ(hits(std::nullopt, false), 1u);
  const double error = ErrorOf(BlockNo(0), block);
  ASSERT_GT(error, 0);
  // From the disk, or from memory, where it may have come back to by now.
  for (const bool follow : {false, true}) {
    EXPECT_EQ(hits(error * 1.2, follow), 1u);
    EXPECT_EQ(hits(error * 0.8, follow), 0u);
  }
  if (GetParam() != TransportKind::kShm) return;
  ASSERT_TRUE(
      testing::PollUntil([&] { return Count("banyan_promotions_total") > 0; }));
  const auto view = [&](double error_max) {
    const auto got =
        client_->GetView(ns_, {.keys = keys_}, 0, 1, {.error_max = error_max});
    EXPECT_TRUE(got.ok()) << got.status();
    return (*got)->blocks().size();
  };
  EXPECT_EQ(view(error * 1.2), 1u);
  EXPECT_EQ(view(error * 0.8), 0u);
}

// The node's words, by hand: what the client would refuse by itself, and what an
// older node answers.
TEST_F(CodecEndToEndTest, TheNodeChecksWhatItIsAskedFor) {
  Start();
  Open(FingerprintWith(""), {});
  const auto stub = banyan::v1::Cache::NewStub(testing::ChannelTo(*server_));
  const auto acquire = [&](double error_max) {
    grpc::ClientContext context;
    banyan::v1::AcquireRequest request;
    request.set_session_id("none");
    request.set_mode(banyan::v1::ACQUIRE_MODE_EACH);
    request.mutable_quality()->set_error_max(error_max);
    banyan::v1::AcquireResponse response;
    return stub->Acquire(&context, request, &response);
  };
  for (const double bad : {-1.0, 0.51, double{NAN}}) {
    const grpc::Status status = acquire(bad);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_NE(status.error_message().find("error_max: "), std::string::npos)
        << status.error_message();
  }
  EXPECT_EQ(acquire(0.1).error_code(),
            grpc::StatusCode::FAILED_PRECONDITION);  // No session.
}

TEST_F(CodecEndToEndTest, CalibrationsThatDoNotFitAreRefused) {
  Start();
  const std::string good = CalibrationOf("nuq4");
  std::string damaged = good;
  damaged[100] ^= 1;
  const Fingerprint plain = FingerprintWith("");
  const Fingerprint nuq = FingerprintWith("nuq4");
  Fingerprint named = nuq;
  named.calibration_digest = std::string(32, 'd');
  Fingerprint other_shape = nuq;
  other_shape.layers = 3;
  const auto reason = [&](const Fingerprint& fingerprint,
                          const NamespaceOptions& options) {
    return ErrorReason(
        client_->OpenNamespace("", fingerprint, options).status());
  };
  EXPECT_EQ(reason(nuq, {}), "CALIBRATION");
  EXPECT_EQ(reason(named, {}), "CALIBRATION");
  EXPECT_EQ(reason(named, {.calibration = good}), "CALIBRATION");
  EXPECT_EQ(reason(nuq, {.calibration = damaged}), "CALIBRATION");
  EXPECT_EQ(reason(nuq, {.calibration = CalibrationOf("nuq3")}), "CALIBRATION");
  EXPECT_EQ(reason(other_shape, {.calibration = good}), "CALIBRATION");
  EXPECT_EQ(reason(FingerprintWith("int4"), {.calibration = good}),
            "CALIBRATION");
  EXPECT_EQ(reason(plain, {.calibration = good}), "CALIBRATION");
  EXPECT_EQ(reason(plain, {.ssd_codec = "nuq4"}), "CALIBRATION");
  EXPECT_EQ(reason(plain, {.calibration = damaged, .ssd_codec = "nuq4"}),
            "CALIBRATION");
  EXPECT_EQ(reason(plain, {.calibration = good, .ssd_codec = "int4"}),
            "CALIBRATION");
  EXPECT_EQ(reason(plain, {.calibration = std::string(3 * kMiB + 1, 'x'),
                           .ssd_codec = "nuq4"}),
            "CALIBRATION");
  EXPECT_EQ(reason(plain, {.calibration = good, .ssd_codec = "nuq4"}), "");
  EXPECT_EQ(reason(plain, {}), "");
  // Two calibrations are two codecs, for clients and on the SSD.
  EXPECT_EQ(reason(plain, {.calibration = CalibrationOf("k=nuq4,v=raw"),
                           .ssd_codec = "k=nuq4,v=raw"}),
            "POLICY");
  EXPECT_EQ(reason(nuq, {.calibration = good}), "");
}

std::string NameOfSpec(const ::testing::TestParamInfo<const char*>& info) {
  return info.param;
}
constexpr const char* kSpecs[] = {
    "lossless",
    "nuq4",
#ifndef __SANITIZE_THREAD__  // Codecs take forty times as long there.
    "cold3",
#endif
};
INSTANTIATE_TEST_SUITE_P(Specs, KvCodecTest, ::testing::ValuesIn(kSpecs),
                         NameOfSpec);
INSTANTIATE_TEST_SUITE_P(Specs, SsdCodecTest, ::testing::ValuesIn(kSpecs),
                         NameOfSpec);

std::string NameOfTransport(
    const ::testing::TestParamInfo<TransportKind>& info) {
  return info.param == TransportKind::kGrpc  ? "Grpc"
         : info.param == TransportKind::kShm ? "Shm"
                                             : "Ucx";
}
INSTANTIATE_TEST_SUITE_P(Transports, QualityTest,
                         ::testing::Values(TransportKind::kGrpc,
                                           TransportKind::kShm,
                                           TransportKind::kUcx),
                         NameOfTransport);

}  // namespace
}  // namespace banyan
