// Goal: blocks of a namespace with a codec are encoded where they are written,
// stored and moved as such, and decoded where they are read: what comes back is,
// to the byte, what the codec makes of the block, and the node holds more blocks
// in the same bytes of memory and disk. With a policy for the SSD the node does
// so for what leaves memory.
// Method: made-up numbers that follow from the block's name, a node in this
// process, and the codec applied here beside it.
#include <gtest/gtest.h>

#include <cstdio>
#include <cstring>
#include <random>

#include "base/error.h"
#include "base/representation.h"
#include "client/cpp/client.h"
#include "tests/integration/node.h"
#include "tests/testing/codec_cases.h"
#include "tests/testing/temp_directory.h"

namespace banyan {
namespace {

using codec::ElementType;

// Codecs take forty times as long under ThreadSanitizer.
#ifdef __SANITIZE_THREAD__
constexpr uint32_t kLayers = 1;
#else
constexpr uint32_t kLayers = 8;
#endif
constexpr uint64_t kMemoryBytes = kLayers * 2 * kMiB;  // Of 32 blocks.
constexpr uint32_t kTokens = 16;
constexpr uint32_t kHeads = 8;
constexpr uint32_t kDim = 128;
constexpr size_t kBlockElements = size_t{kLayers} * 2 * kTokens * kHeads * kDim;
constexpr size_t kBlockBytes = 2 * kBlockElements;
constexpr codec::RopeSpec kRope{.base = 10000, .rotary_dim = kDim};

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

// Gaussian numbers to draw from.
const std::vector<uint16_t>& Numbers() {
  static const std::vector<uint16_t> numbers = [] {
    std::mt19937_64 rng(1);
    std::normal_distribution<double> normal;
    std::vector<uint16_t> drawn(1 << 16);
    for (uint16_t& x : drawn) x = testing::Fp16Bits(normal(rng));
    return drawn;
  }();
  return numbers;
}

// Block i of the chain: numbers that follow from its name.
Block BlockNo(std::string_view chain, size_t i) {
  const Sha256Digest digest =
      Sha256({absl::string_view(chain.data(), chain.size()), absl::StrCat(i)});
  std::mt19937_64 rng(LoadLe64(digest.data()));
  Block block(kBlockBytes);
  for (size_t at = 0; at < kBlockBytes; at += 8) {
    const uint64_t drawn = rng();
    for (size_t k = 0; k < 4; ++k) {
      StoreLe16(Numbers()[drawn >> 16 * k & 0xFFFF], &block[at + 2 * k]);
    }
  }
  return block;
}

absl::string_view KeyBytes(std::string_view keys, size_t i) {
  const std::string_view key = testing::KeyNo(keys, i);
  return {key.data(), key.size()};
}

// What the codec makes of it, computed here.
Block Expected(const Block& block, const std::string& spec, size_t i) {
  const Fingerprint fingerprint = FingerprintWith(spec);
  const auto codec =
      *codec::BlockCodec::Make({.spec = *codec::ParseBlockSpec(spec),
                                .layout = *KvLayout::Of(fingerprint),
                                .type = ElementType::kFp16,
                                .rope = kRope});
  auto work = codec->MakeWorkspace();
  const uint64_t position = i * kTokens;
  const uint64_t layer_bytes = codec->layer_bytes();
  Block encoded(codec->EncodedLayerBytes(position));
  Block decoded(block.size());
  for (uint32_t layer = 0; layer < kLayers; ++layer) {
    const auto from =
        absl::MakeConstSpan(block).subspan(layer * layer_bytes, layer_bytes);
    EXPECT_TRUE(codec->StartEncoding(position, work).ok());
    const auto length =
        codec->EncodeLayerSized(from, work, absl::MakeSpan(encoded));
    EXPECT_TRUE(length.ok()) << length.status();
    EXPECT_TRUE(codec->StartDecoding(position, work).ok());
    EXPECT_TRUE(codec
                    ->DecodeLayer(absl::MakeSpan(encoded).first(*length), work,
                                  absl::MakeSpan(decoded).subspan(
                                      layer * layer_bytes, layer_bytes))
                    .ok());
  }
  return decoded;
}

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

class CodecNode : public ::testing::Test {
 protected:
  void Start(server::Config config, TransportKind transport) {
    transport_ = transport;
    config.eviction = "lru";  // Lets all in.
    config.is_ucx_off = transport != TransportKind::kUcx;
    if (!config.is_ucx_off) config.ucx_port = 0;
    auto server = server::Server::Start(config);
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    client_ = Connect();
  }

  std::unique_ptr<Client> Connect() {
    auto client = Client::Connect(
        {.endpoint = testing::EndpointOf(*server_), .transport = transport_});
    EXPECT_TRUE((*client)->WaitReady(5000).ok());
    return *std::move(client);
  }

  std::string Open(const std::string& spec) {
    const auto opened =
        client_->OpenNamespace("", FingerprintWith(spec), {.rope = kRope});
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? opened->id : "";
  }

  Completion Put(const std::string& ns, const std::string& chain,
                 const std::vector<Block>& blocks, uint32_t first = 0) {
    const std::string keys = testing::ChainKeys(chain, first + blocks.size());
    return client_->Put(ns, {.keys = keys}, first,
                        {blocks.begin(), blocks.end()}, {});
  }

  // Blocks [first, first + count) into `blocks`; what was asked for is there,
  // or means nothing.
  Completion Get(const std::string& ns, const std::string& chain, size_t count,
                 std::vector<Block>& blocks, uint32_t first = 0) {
    const std::string keys = testing::ChainKeys(chain, first + count);
    blocks.assign(count, Block(kBlockBytes));
    return client_->Get(ns, {.keys = keys}, first,
                        {blocks.begin(), blocks.end()});
  }

  std::unique_ptr<server::Server> server_;
  std::unique_ptr<Client> client_;
  TransportKind transport_ = TransportKind::kAuto;
};

class CodecNamespaceTest : public CodecNode,
                           public ::testing::WithParamInterface<TransportKind> {
};

TEST_P(CodecNamespaceTest, WhatComesBackIsWhatTheCodecMakesOfIt) {
  Start(testing::SmallConfig(), GetParam());
  for (const std::string spec :
       {"raw", "lossless", "fp8", "int4", "rotlm4", "rotlm3,sink=20",
        "k=rotlm4:white:pre,v=rotlm2"}) {
    const std::string ns = Open(spec);
    std::vector<Block> blocks;
    for (size_t i = 0; i < 4; ++i) blocks.push_back(BlockNo(spec, i));
    ASSERT_TRUE(Put(ns, spec, blocks).status.ok()) << spec;

    std::vector<Block> read;
    // Not from the root, as one may.
    const Completion got = Get(ns, spec, 3, read, 1);

    ASSERT_TRUE(got.status.ok()) << got.status;
    ASSERT_EQ(got.hit_blocks, 3u) << spec;
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_EQ(got.read_bytes[i], kBlockBytes);
      EXPECT_EQ(read[i], Expected(blocks[i + 1], spec, i + 1))
          << spec << ", block " << i + 1;
    }
  }
  EXPECT_EQ(client_->stats().found_wrong(), 0u);
}

TEST_P(CodecNamespaceTest, WhatCannotBeEncodedIsKeptAsItIs) {
  Start(testing::SmallConfig(), GetParam());
  const std::string ns = Open("rotlm4");
  std::vector<Block> blocks;
  for (size_t i = 0; i < 3; ++i) blocks.push_back(BlockNo("nan", i));
  const uint16_t nan = 0x7E00;
  std::memcpy(blocks[1].data() + kBlockBytes / 2, &nan, sizeof(nan));
  ASSERT_TRUE(Put(ns, "nan", blocks).status.ok());

  std::vector<Block> read;
  const Completion got = Get(ns, "nan", 3, read);

  ASSERT_EQ(got.hit_blocks, 3u) << got.status;
  EXPECT_EQ(read[0], Expected(blocks[0], "rotlm4", 0));
  EXPECT_EQ(read[1], blocks[1]);
  EXPECT_EQ(read[2], Expected(blocks[2], "rotlm4", 2));
}

// Somebody who knows the namespace's id, but not its codec.
TEST_P(CodecNamespaceTest, WhatNobodyEncodedIsNoHit) {
  Start(testing::SmallConfig(), GetParam());
  const std::string ns = Open("rotlm4");
  ASSERT_TRUE(Put(ns, "good", {BlockNo("good", 0)}).status.ok());
  const auto stranger = Connect();
  const std::string good = testing::ChainKeys("good", 1);
  Block encoded(kBlockBytes);
  std::vector<std::span<std::byte>> buffers{encoded};
  const Completion raw = stranger->Get(ns, {.keys = good}, 0, buffers);
  ASSERT_EQ(raw.hit_blocks, 1u);
  ASSERT_LT(raw.read_bytes[0], kBlockBytes);
  encoded.resize(raw.read_bytes[0]);
  for (Block bad : {encoded, Block(1000, std::byte{7})}) {
    bad[0] ^= std::byte{1};
    const std::string name = absl::StrCat("bad", bad.size());
    const std::string keys = testing::ChainKeys(name, 1);
    std::vector<std::span<const std::byte>> payloads{bad};
    ASSERT_TRUE(stranger->Put(ns, {.keys = keys}, 0, payloads, {}).status.ok());

    const auto before = client_->stats();
    std::vector<Block> read;
    const Completion got = Get(ns, name, 1, read);

    EXPECT_TRUE(got.status.ok()) << got.status;
    EXPECT_EQ(got.hit_blocks, 0u);
    EXPECT_EQ(got.reads[0], ReadResult::kCorrupt);
    EXPECT_EQ(client_->stats().corrupt_codec - before.corrupt_codec, 1u);
    EXPECT_EQ(client_->stats().hit_blocks, before.hit_blocks);
  }
}

TEST_P(CodecNamespaceTest, CallsThatShowStoredBytesAreRefused) {
  Start(testing::SmallConfig(), GetParam());
  const std::string ns = Open("int4");
  const std::string keys = testing::ChainKeys("any", 1);
  Block block(kBlockBytes);
  const std::vector<std::span<std::byte>> buffers{block};
  const auto reason = [](const absl::Status& status) {
    return absl::IsFailedPrecondition(status) ? ErrorReason(status) : "";
  };
  EXPECT_EQ(reason(client_->GetView(ns, {.keys = keys}, 0, 1, {}).status()),
            "CODEC");
  EXPECT_EQ(
      reason(client_->GetLayers(ns, {.keys = keys}, 0, buffers, {}).status),
      "CODEC");
  EXPECT_EQ(reason(client_->PutLayers(ns, {.keys = keys}, 0, 1, {}).status()),
            "CODEC");
}

TEST_P(CodecNamespaceTest, WrongSizesAreRefusedBeforeAnythingIsSent) {
  Start(testing::SmallConfig(), GetParam());
  const std::string ns = Open("int4");
  const std::string keys = testing::ChainKeys("any", 1);
  Block small(kBlockBytes - 1);
  EXPECT_EQ(ErrorReason(Put(ns, "any", {small}).status), "SIZE");
  EXPECT_EQ(ErrorReason(client_
                            ->Get(ns, {.keys = keys}, 0,
                                  std::vector<std::span<std::byte>>{small})
                            .status),
            "BUFFER");
}

TEST_P(CodecNamespaceTest, TheNodeTakesOnlyCodecsThatFit) {
  Start(testing::SmallConfig(), GetParam());
  // By hand: the client would refuse by itself.
  const auto stub = banyan::v1::Cache::NewStub(testing::ChannelTo(*server_));
  const auto open = [&](const Fingerprint& fingerprint) {
    grpc::ClientContext context;
    banyan::v1::OpenNamespaceRequest request;
    client::SetFingerprint(fingerprint, request.mutable_fingerprint());
    banyan::v1::OpenNamespaceResponse response;
    return stub->OpenNamespace(&context, request, &response);
  };
  const auto with = [](auto change) {
    Fingerprint fingerprint = FingerprintWith("rotlm4");
    change(fingerprint);
    return fingerprint;
  };
  EXPECT_TRUE(open(FingerprintWith("k=rotlm4:white:pre,v=int2:g32")).ok());
  for (const Fingerprint& bad :
       {with([](Fingerprint& f) { f.kv_codec = "zip"; }),
        with([](Fingerprint& f) { f.kv_codec = "k=rotlm4,v=rotlm4"; }),
        with([](Fingerprint& f) { f.data_type = "int8"; })}) {
    const grpc::Status status = open(bad);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    EXPECT_NE(status.error_message().find("codec"), std::string::npos)
        << status.error_message();
  }
  const auto other = client_->OpenNamespace("", FingerprintWith("int4"));
  ASSERT_TRUE(other.ok());
  EXPECT_TRUE(other->is_created);
}

// Blocks that leave memory for the disk, in a namespace with a policy for it.
class SsdCodecTest : public CodecNode,
                     public ::testing::WithParamInterface<TransportKind> {
 protected:
  static constexpr size_t kBlocks = 64;  // Twice the memory.
  static constexpr uint64_t kLayerBytes = kBlockBytes / kLayers;

  server::Config ConfigOf() {
    server::Config config = testing::SmallConfig(kMemoryBytes);
    config.ssd_dirs = {directory_.path()};
    config.ssd_bytes = 128 * kMiB;
    config.ssd_segment_bytes = 8 * kMiB;
    return config;
  }

  std::string OpenWith(NamespaceOptions options) {
    const auto opened =
        client_->OpenNamespace("policy", FingerprintWith(""), options);
    EXPECT_TRUE(opened.ok()) << opened.status();
    return opened.ok() ? opened->id : "";
  }

  void PutAll(const std::string& ns, uint64_t piece_bytes = kLayerBytes) {
    const std::string keys = testing::ChainKeys("chain", kBlocks);
    for (uint32_t i = 0; i < kBlocks; ++i) {
      const Block block = BlockNo("chain", i);
      const std::vector<std::span<const std::byte>> payloads{block};
      ASSERT_TRUE(client_
                      ->Put(ns, {.keys = keys}, i, payloads,
                            {.piece_bytes = piece_bytes})
                      .status.ok());
      ASSERT_TRUE(testing::PollUntil([&] {
        const tiers::TierUsage usage = server_->store().HostUsage();
        return usage.used_bytes < usage.capacity_bytes * 19 / 20;
      }));
    }
  }

  struct Found {
    size_t as_written = 0;
    size_t as_decoded = 0;  // By the spec.
    size_t others = 0;
  };
  Found ReadAll(const std::string& ns, const std::string& spec) {
    Found found;
    for (uint32_t i = 0; i < kBlocks; ++i) {
      std::vector<Block> read;
      const Completion got = Get(ns, "chain", 1, read, i);
      EXPECT_EQ(got.hit_blocks, 1u) << "block " << i;
      if (read[0] == BlockNo("chain", i)) {
        ++found.as_written;
      } else if (read[0] == Expected(BlockNo("chain", i), spec, i)) {
        ++found.as_decoded;
      } else {
        ++found.others;
      }
    }
    return found;
  }

  testing::TempDirectory directory_;
};

TEST_P(SsdCodecTest, WhatComesFromDiskIsWhatTheCodecMadeOfIt) {
  const std::string spec = "k=int8,v=rotlm4,sink=20";
  Start(ConfigOf(), GetParam());
  std::string ns = OpenWith({.ssd_codec = spec});
  PutAll(ns);
  const Found found = ReadAll(ns, spec);
  EXPECT_EQ(found.others, 0u);
  EXPECT_GT(found.as_written, 0u);
  EXPECT_GT(found.as_decoded, 0u);
  EXPECT_EQ(client_->stats().found_wrong(), 0u);

  // The node writes all of memory to disk when it ends, and knows the policy
  // when it starts.
  client_ = nullptr;
  server_->Shutdown(absl::Seconds(30));
  server_ = nullptr;
  Start(ConfigOf(), GetParam());
  ns = OpenWith({});
  const Found again = ReadAll(ns, spec);
  EXPECT_EQ(again.others, 0u);
  EXPECT_EQ(again.as_written, 1u);  // All of the first block is sink tokens.
}

TEST_P(SsdCodecTest, EachBlockSaysHowFarItIsFromWhatWasWritten) {
  Start(ConfigOf(), GetParam());
  const std::string ns = OpenWith({.ssd_codec = "int4"});
  PutAll(ns);
  const std::string keys = testing::ChainKeys("chain", kBlocks);
  size_t encoded = 0;
  for (uint32_t i = 0; i < kBlocks; ++i) {
    const auto facts = server_->store().Stat(
        "policy", "", {*BlockKey::FromBytes(KeyBytes(keys, i))});
    ASSERT_TRUE(facts.ok() && facts->size() == 1 && (*facts)[0].is_stored);
    const auto stored = Representation::Of((*facts)[0].header.codec);
    std::vector<Block> read;
    ASSERT_EQ(Get(ns, "chain", 1, read, i).hit_blocks, 1u);
    const double error = ErrorOf(BlockNo("chain", i), read[0]);
    EXPECT_LE(error, ErrorBound(stored.error_class));
    EXPECT_GE(error, ErrorBound(stored.error_class) / 2);
    if (stored.is_encoded) ++encoded;
  }
  EXPECT_GT(encoded, kBlocks / 4);
}

// Fewer bytes, and the same ones back.
TEST_P(SsdCodecTest, LosslessGivesBackWhatWasWritten) {
  Start(ConfigOf(), GetParam());
  const std::string ns = OpenWith({.ssd_codec = "lossless"});
  PutAll(ns);
  EXPECT_EQ(ReadAll(ns, "lossless").as_written, kBlocks);
  EXPECT_GT(testing::Reading(*server_,
                             "banyan_ssd_encoding_total{result=\"encoded\"}"),
            0u);
  EXPECT_EQ(testing::Reading(*server_,
                             "banyan_ssd_encoding_total{result=\"as_it_is\"}"),
            0u);
}

TEST_P(SsdCodecTest, WhatWouldBeTooFarOffIsKeptAsItIs) {
  Start(ConfigOf(), GetParam());
  const std::string ns =
      OpenWith({.ssd_codec = "int2", .ssd_error_max = 0.001});
  PutAll(ns);
  EXPECT_EQ(ReadAll(ns, "int2").as_written, kBlocks);
  EXPECT_GT(testing::Reading(*server_,
                             "banyan_ssd_encoding_total{result=\"as_it_is\"}"),
            0u);
}

TEST_P(SsdCodecTest, BlocksInOtherPiecesAreKeptAsTheyAre) {
  Start(ConfigOf(), GetParam());
  const std::string ns = OpenWith({.ssd_codec = "int8"});
  PutAll(ns, kLayerBytes / 2);
  EXPECT_EQ(ReadAll(ns, "int8").as_written, kBlocks);
}

TEST_P(SsdCodecTest, DurableMeansAsItWasWritten) {
  Start(ConfigOf(), GetParam());
  std::string ns = OpenWith({.ssd_codec = "int8"});
  const std::string keys = testing::ChainKeys("chain", 1);
  const Block block = BlockNo("chain", 0);
  const std::vector<std::span<const std::byte>> payloads{block};
  ASSERT_TRUE(client_
                  ->Put(ns, {.keys = keys}, 0, payloads,
                        {.piece_bytes = kLayerBytes,
                         .durability = Durability::kDurable})
                  .status.ok());
  client_ = nullptr;
  server_ = nullptr;
  Start(ConfigOf(), GetParam());
  ns = OpenWith({});
  std::vector<Block> read;
  ASSERT_EQ(Get(ns, "chain", 1, read).hit_blocks, 1u);
  EXPECT_EQ(read[0], block);
}

TEST_P(SsdCodecTest, APolicyIsOfWhoCreatesTheNamespace) {
  Start(ConfigOf(), GetParam());
  OpenWith({.ssd_codec = "int8"});
  OpenWith({});
  OpenWith({.ssd_codec = "int8"});
  const auto reason = [&](const Fingerprint& fingerprint,
                          NamespaceOptions options, const char* name = "") {
    return ErrorReason(
        client_->OpenNamespace(name, fingerprint, options).status());
  };
  const Fingerprint plain = FingerprintWith("");
  EXPECT_EQ(reason(plain, {.ssd_codec = "int4"}, "policy"), "POLICY");
  EXPECT_EQ(reason(plain, {.ssd_codec = "int8", .ssd_error_max = 0.6}),
            "POLICY");
  EXPECT_EQ(reason(FingerprintWith("int8"), {.ssd_codec = "int8"}), "POLICY");
  EXPECT_EQ(reason(testing::OpaqueFingerprint(), {.ssd_codec = "int8"}),
            "POLICY");
  EXPECT_EQ(reason(plain, {.ssd_codec = "k=rotlm4:white:pre,v=int8"}), "CODEC");
  EXPECT_EQ(reason(plain, {.ssd_codec = "zip"}), "CODEC");
}

// Blocks that a small node holds, in memory and on disk, when its disk is full
// for the first time: those that can be read then.
class CodecCapacityTest : public CodecNode {
 protected:
  size_t Fill(const std::string& spec) {
    testing::TempDirectory directory;
    server::Config config = testing::SmallConfig(kMemoryBytes);
    config.ssd_dirs = {directory.path()};
    config.ssd_bytes = 64 * kMiB;
    config.ssd_segment_bytes = 8 * kMiB;
    Start(config, TransportKind::kAuto);
    const std::string ns = Open(spec);
    size_t blocks = 0;
    while (!IsDiskFull()) {
      const std::string chain = absl::StrCat("chain", blocks++);
      EXPECT_TRUE(Put(ns, chain, {BlockNo(chain, 0)}).status.ok());
      EXPECT_TRUE(testing::PollUntil([&] { return !IsMemoryFull(); }));
    }
    const size_t held = CountGood(ns, spec, blocks);
    EXPECT_EQ(client_->stats().found_wrong(), 0u);
    client_ = nullptr;
    server_ = nullptr;
    return held;
  }

 private:
  // It has dropped blocks to make room.
  bool IsDiskFull() {
    return testing::Reading(*server_,
                            "banyan_evictions_total{tier=\"ssd\","
                            "reason=\"capacity\"}") > 0;
  }

  // What does not fit is on its way to the disk.
  bool IsMemoryFull() {
    const tiers::TierUsage usage = server_->store().HostUsage();
    return usage.used_bytes > usage.capacity_bytes * 19 / 20;
  }

  size_t CountGood(const std::string& ns, const std::string& spec,
                   size_t blocks) {
    size_t good = 0;
    for (size_t i = 0; i < blocks; ++i) {
      const std::string chain = absl::StrCat("chain", i);
      std::vector<Block> read;
      if (Get(ns, chain, 1, read).hit_blocks == 0) continue;
      ++good;
      const Block block = BlockNo(chain, 0);
      if (spec.empty()) {
        EXPECT_EQ(read[0], block) << chain;
        continue;
      }
      EXPECT_EQ(read[0], Expected(block, spec, 0)) << chain;
      // docs/formats/codec_rotlm.md, and the rounding of fp16.
      EXPECT_LE(ErrorOf(block, read[0]), 1.05 * 0.0095) << chain;
    }
    return good;
  }
};

// Of no thread of its own, and its blocks need their size.
#ifndef __SANITIZE_THREAD__
TEST_F(CodecCapacityTest, TheSameBytesHoldMoreBlocks) {
  const size_t raw = Fill("");
  const size_t encoded = Fill("rotlm4");

  EXPECT_GE(encoded, raw * 7 / 2);
  std::printf("blocks held: %zu as they are, %zu with rotlm4: %.2f times\n",
              raw, encoded, double(encoded) / double(raw));
}
#endif

std::string NameOf(const ::testing::TestParamInfo<TransportKind>& info) {
  return info.param == TransportKind::kGrpc  ? "Grpc"
         : info.param == TransportKind::kShm ? "Shm"
                                             : "Ucx";
}

constexpr TransportKind kTransports[] = {
    TransportKind::kGrpc, TransportKind::kShm, TransportKind::kUcx};
INSTANTIATE_TEST_SUITE_P(Transports, CodecNamespaceTest,
                         ::testing::ValuesIn(kTransports), NameOf);
INSTANTIATE_TEST_SUITE_P(Transports, SsdCodecTest,
                         ::testing::ValuesIn(kTransports), NameOf);

}  // namespace
}  // namespace banyan
