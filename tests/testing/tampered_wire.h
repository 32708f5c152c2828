// A channel whose messages can be changed on their way: a gRPC interceptor in
// front of the client's real code. What happens to a message is a function of
// the test; without one the channel is an ordinary one.
//
// Also frames as lists of fields, so that a test can damage one field of one
// block and leave the rest as it was.
//
// Threads: set the functions while no call is in flight. Sessions pass as they
// are.
#pragma once

#include <google/protobuf/io/coded_stream.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/support/client_interceptor.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace banyan::testing {

// One length-delimited field of a frame.
struct FrameField {
  uint32_t number = 0;
  std::string bytes;
};

inline std::optional<std::vector<FrameField>> SplitFrame(
    const std::string& frame) {
  google::protobuf::io::CodedInputStream in(
      reinterpret_cast<const uint8_t*>(frame.data()),
      static_cast<int>(frame.size()));
  std::vector<FrameField> fields;
  while (const uint32_t tag = in.ReadTag()) {
    FrameField field{.number = tag >> 3};
    uint32_t size = 0;
    if ((tag & 7) != 2 || !in.ReadVarint32(&size) ||
        !in.ReadString(&field.bytes, static_cast<int>(size))) {
      return std::nullopt;
    }
    fields.push_back(std::move(field));
  }
  return fields;
}

inline std::string JoinFrame(const std::vector<FrameField>& fields) {
  const auto append_varint = [](uint64_t value, std::string& out) {
    for (; value >= 0x80; value >>= 7) {
      out.push_back(static_cast<char>(value | 0x80));
    }
    out.push_back(static_cast<char>(value));
  };
  std::string frame;
  for (const FrameField& field : fields) {
    append_varint(uint64_t{field.number} << 3 | 2, frame);
    append_varint(field.bytes.size(), frame);
    frame += field.bytes;
  }
  return frame;
}

class TamperedWire {
 public:
  // Changes the text of a message of this method.
  using Tamper = std::function<void(std::string_view method, std::string&)>;

  // Messages that the client sends, and that it receives in GetBlocks.
  Tamper on_send;
  Tamper on_receive;

  // *this outlives the channel.
  std::shared_ptr<grpc::Channel> ChannelTo(const std::string& endpoint) {
    std::vector<
        std::unique_ptr<grpc::experimental::ClientInterceptorFactoryInterface>>
        factories;
    factories.push_back(std::make_unique<Factory>(*this));
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(-1);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    // What is cut is tried again soon.
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 20);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 100);
    return grpc::experimental::CreateCustomChannelWithInterceptors(
        endpoint, grpc::InsecureChannelCredentials(), arguments,
        std::move(factories));
  }

 private:
  using Point = grpc::experimental::InterceptionHookPoints;

  static void Change(const Tamper& tamper, std::string_view method,
                     grpc::ByteBuffer& buffer) {
    std::vector<grpc::Slice> slices;
    std::string text;
    if (!buffer.Dump(&slices).ok()) return;
    for (const grpc::Slice& slice : slices) {
      text.append(reinterpret_cast<const char*>(slice.begin()), slice.size());
    }
    tamper(method, text);
    const grpc::Slice changed(text);
    buffer = grpc::ByteBuffer(&changed, 1);
  }

  class Interceptor final : public grpc::experimental::Interceptor {
   public:
    Interceptor(const TamperedWire& wire, std::string method)
        : wire_(wire), method_(std::move(method)) {}

    void Intercept(
        grpc::experimental::InterceptorBatchMethods* methods) override {
      // Heartbeats come at any time, from another thread.
      if (method_ == "/banyan.v1.Cache/Session") return methods->Proceed();
      if (wire_.on_send &&
          methods->QueryInterceptionHookPoint(Point::PRE_SEND_MESSAGE)) {
        Change(wire_.on_send, method_, *methods->GetSerializedSendMessage());
      }
      if (wire_.on_receive && method_ == "/banyan.v1.Cache/GetBlocks" &&
          methods->QueryInterceptionHookPoint(Point::POST_RECV_MESSAGE) &&
          methods->GetRecvMessage() != nullptr) {
        Change(wire_.on_receive, method_,
               *static_cast<grpc::ByteBuffer*>(methods->GetRecvMessage()));
      }
      methods->Proceed();
    }

   private:
    const TamperedWire& wire_;
    const std::string method_;
  };

  class Factory final
      : public grpc::experimental::ClientInterceptorFactoryInterface {
   public:
    explicit Factory(const TamperedWire& wire) : wire_(wire) {}
    grpc::experimental::Interceptor* CreateClientInterceptor(
        grpc::experimental::ClientRpcInfo* info) override {
      return new Interceptor(wire_, info->method());
    }

   private:
    const TamperedWire& wire_;
  };
};

}  // namespace banyan::testing
