// Goal: no request, whatever it holds, ends in UNKNOWN, a crash, a hang, or an
// answer that does not have the shape of an error.
// Method: seeded random messages for every rpc of both services, filled by
// reflection from values that are half plausible (ids that exist, keys of the
// right length) and half not, some with damaged encoding; the code, the message
// and the size of every error are checked, and the node must still work.
#include <google/protobuf/descriptor.h>
#include <google/protobuf/dynamic_message.h>
#include <grpcpp/impl/codegen/client_unary_call.h>
#include <gtest/gtest.h>

#include <bit>
#include <cctype>
#include <random>

#include "google/rpc/error_details.pb.h"
#include "tests/integration/node.h"

namespace banyan {
namespace {

namespace pb = banyan::v1;
using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

constexpr uint64_t kSeed = 20240303;
constexpr int kRounds = 150;
constexpr auto kDeadline = std::chrono::seconds(20);
constexpr size_t kErrorBytesMax = 64 * kKiB;

class RandomRequestsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = server::Server::Start(testing::SmallConfig(16 * kMiB));
    ASSERT_TRUE(server.ok()) << server.status();
    server_ = *std::move(server);
    channel_ = testing::ChannelTo(*server_);
    session_ = std::make_unique<testing::RawSession>(channel_, "random");
    const std::string ns = testing::OpenOpaque(session_->stub(), "demo");
    texts_ = {"",
              "demo",
              ns,
              session_->id(),
              testing::ChainKeys("k", 3),
              testing::ChainKeys("k", 1),
              "a/b\n\x01",
              std::string(300, 's'),
              std::string(5000, '\xff')};
  }

  uint64_t Draw(uint64_t end) { return random_() % end; }

  uint64_t Number() {
    constexpr uint64_t kNumbers[] = {
        0, 1, 2, 16, 32, 64, 4096, 1u << 20, UINT32_MAX, UINT64_MAX};
    return Draw(3) == 0 ? random_() : kNumbers[Draw(std::size(kNumbers))];
  }

  std::string Text(bool is_utf8) {
    std::string text = texts_[Draw(texts_.size())];
    if (Draw(8) == 0) text += static_cast<char>(random_());
    if (is_utf8) {
      for (char& c : text) c = static_cast<char>(c & 0x7f);
    }
    return text;
  }

  void FillField(Message& message, const FieldDescriptor* field, int depth) {
    const auto* const r = message.GetReflection();
    const bool is_many = field->is_repeated();
    const auto set = [&](auto setter, auto adder, auto value) {
      if (is_many) {
        (r->*adder)(&message, field, value);
      } else {
        (r->*setter)(&message, field, value);
      }
    };
    using R = google::protobuf::Reflection;
    switch (field->cpp_type()) {
      case FieldDescriptor::CPPTYPE_UINT32:
        return set(&R::SetUInt32, &R::AddUInt32,
                   static_cast<uint32_t>(Number()));
      case FieldDescriptor::CPPTYPE_UINT64:
        return set(&R::SetUInt64, &R::AddUInt64, Number());
      case FieldDescriptor::CPPTYPE_INT32:
        return set(&R::SetInt32, &R::AddInt32, static_cast<int32_t>(Number()));
      case FieldDescriptor::CPPTYPE_INT64:
        return set(&R::SetInt64, &R::AddInt64, static_cast<int64_t>(Number()));
      case FieldDescriptor::CPPTYPE_DOUBLE:
        // Small ones, which are in order, and any bits.
        return set(&R::SetDouble, &R::AddDouble,
                   Draw(2) == 0 ? static_cast<double>(Draw(100)) / 64
                                : std::bit_cast<double>(random_()));
      case FieldDescriptor::CPPTYPE_BOOL:
        return set(&R::SetBool, &R::AddBool, Draw(2) == 0);
      case FieldDescriptor::CPPTYPE_ENUM:
        return set(&R::SetEnumValue, &R::AddEnumValue,
                   static_cast<int>(Draw(8) == 0 ? random_() : Draw(7)));
      case FieldDescriptor::CPPTYPE_STRING:
        return set(&R::SetString, &R::AddString,
                   Text(field->type() == FieldDescriptor::TYPE_STRING));
      case FieldDescriptor::CPPTYPE_MESSAGE:
        Fill(is_many ? *r->AddMessage(&message, field)
                     : *r->MutableMessage(&message, field),
             depth + 1);
        return;
      default:
        FAIL() << "no value for " << field->full_name();
    }
  }

  void Fill(Message& message, int depth = 0) {
    const auto* const type = message.GetDescriptor();
    for (int i = 0; i < type->field_count(); ++i) {
      if (Draw(5) == 0 || depth > 4) continue;
      const uint64_t times = type->field(i)->is_repeated() ? Draw(4) : 1;
      for (uint64_t n = 0; n < times; ++n) {
        FillField(message, type->field(i), depth);
      }
    }
  }

  grpc::ByteBuffer RandomRequest(const google::protobuf::Descriptor* type) {
    const std::unique_ptr<Message> message(
        google::protobuf::MessageFactory::generated_factory()
            ->GetPrototype(type)
            ->New());
    Fill(*message);
    std::string text = message->SerializePartialAsString();
    if (Draw(10) == 0 && !text.empty()) {
      text[Draw(text.size())] = static_cast<char>(random_());
    }
    if (Draw(20) == 0) text.resize(Draw(text.size() + 1));
    const grpc::Slice slice(text);
    return {&slice, 1};
  }

  void Check(const std::string& method, const grpc::Status& status) {
    ++calls_;
    if (status.ok()) return;
    ++errors_;
    const std::string& message = status.error_message();
    SCOPED_TRACE(method + ": " + message);
    EXPECT_NE(status.error_code(), grpc::StatusCode::UNKNOWN);
    EXPECT_NE(status.error_code(), grpc::StatusCode::DEADLINE_EXCEEDED);
    EXPECT_NE(status.error_code(), grpc::StatusCode::UNAVAILABLE);
    EXPECT_LT(message.size() + status.error_details().size(), kErrorBytesMax);
    if (status.error_details().empty()) return;  // The library's own.
    google::rpc::Status details;
    google::rpc::ErrorInfo info;
    ASSERT_TRUE(details.ParseFromString(status.error_details()));
    ASSERT_GE(details.details_size(), 1);
    ASSERT_TRUE(details.details(0).UnpackTo(&info));
    EXPECT_EQ(info.domain(), "banyan");
    EXPECT_FALSE(info.reason().empty());
    EXPECT_LE(message.size(), 300u);
    for (const unsigned char c : message) {
      EXPECT_TRUE(std::isprint(c)) << "byte " << int{c};
    }
  }

  // Any rpc, as a stream in both directions of raw messages.
  grpc::Status Call(const google::protobuf::MethodDescriptor* method) {
    const std::string name = "/" + method->service()->full_name() + "/" +
                             std::string(method->name());
    const bool is_many = method->client_streaming();
    const grpc::internal::RpcMethod rpc(
        name.c_str(), grpc::internal::RpcMethod::BIDI_STREAMING);
    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kDeadline);
    const std::unique_ptr<
        grpc::ClientReaderWriter<grpc::ByteBuffer, grpc::ByteBuffer>>
        stream(grpc::internal::ClientReaderWriterFactory<
               grpc::ByteBuffer, grpc::ByteBuffer>::Create(channel_.get(), rpc,
                                                           &context));
    const uint64_t count = is_many ? 1 + Draw(3) : 1;
    for (uint64_t i = 0; i < count; ++i) {
      if (!stream->Write(RandomRequest(method->input_type()))) break;
    }
    stream->WritesDone();
    grpc::ByteBuffer response;
    while (stream->Read(&response)) {
    }
    return stream->Finish();
  }

  std::unique_ptr<server::Server> server_;
  std::shared_ptr<grpc::Channel> channel_;
  std::unique_ptr<testing::RawSession> session_;
  std::vector<std::string> texts_;
  std::mt19937_64 random_{kSeed};
  int calls_ = 0;
  int errors_ = 0;
};

TEST_F(RandomRequestsTest, EveryRpcAnswersWithinItsDeadlineAndInShape) {
  const auto* const pool = google::protobuf::DescriptorPool::generated_pool();
  int methods = 0;
  for (const char* service : {"banyan.v1.Cache", "banyan.v1.Admin"}) {
    const auto* const descriptor = pool->FindServiceByName(service);
    ASSERT_NE(descriptor, nullptr);
    for (int m = 0; m < descriptor->method_count(); ++m) {
      ++methods;
      for (int round = 0; round < kRounds && !HasFailure(); ++round) {
        Check(descriptor->method(m)->full_name(), Call(descriptor->method(m)));
      }
    }
  }
  EXPECT_EQ(calls_, methods * kRounds);
  EXPECT_GT(errors_, calls_ / 4) << "requests are bad enough";
  EXPECT_LT(errors_, calls_) << "and some are good";

  session_.reset();
  EXPECT_TRUE(testing::PollUntil([this] { return testing::IsIdle(*server_); }));
}

}  // namespace
}  // namespace banyan
