// Passes on what one client and a node say to each other over UCX, message by
// message, with the faults that are asked for.
//
// Threads:  two of UCX: one towards the client, one towards the node.
// Lifetime: the faults outlive *this. The destructor cuts the connection.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "client/transport/ucx_worker.h"
#include "tests/testing/wire_faults.h"

namespace banyan::testing {

class UcxRelay {
 public:
  // To a port of the loopback address.
  UcxRelay(uint16_t node_port, WireFaults& faults);
  ~UcxRelay();
  UcxRelay(const UcxRelay&) = delete;
  UcxRelay& operator=(const UcxRelay&) = delete;

  // Where the client is to come in.
  uint16_t port() const { return port_; }

 private:
  struct Message {
    std::string head;
    std::string body;
  };
  // One end: who is connected there, on the thread of its worker.
  class End;

  void FromClient(Message message);
  void FromNode(Message message);
  // What is wrong with bytes of a block, or with an answer.
  void Spoil(transport::UcxToClientKind kind, Message& message);
  void Cut();

  WireFaults& faults_;
  uint16_t port_ = 0;
  std::string last_body_;  // Of the node's thread: bytes that came before.
  std::unique_ptr<End> client_;
  std::unique_ptr<End> node_;
};

}  // namespace banyan::testing
