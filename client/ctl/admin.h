// The administrative commands of banyanctl: each makes one call and prints its
// answer as a table or as JSON. Data goes to stdout, all else to stderr.
//
// Every function returns the exit code: see client/ctl/exit_code.h.
#pragma once

#include <grpcpp/grpcpp.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"
#include "banyan/v1/admin.grpc.pb.h"

namespace banyan::ctl {

struct Output {
  bool is_json = false;
};

class Admin {
 public:
  Admin(std::shared_ptr<grpc::Channel> channel, absl::Duration timeout,
        const Output& output);

  int Status();
  int Version();
  int NamespaceList();
  int NamespaceDescribe(const std::string& name);
  int NamespaceDrop(const std::string& name);
  // The same, but prints nothing; for what a command cleans up after itself.
  absl::Status DropNamespace(const std::string& name);
  int KeyStat(const std::string& ns, const std::string& salt,
              const std::vector<std::string>& hex_keys);
  // The first `limit` blocks of the namespace, in no special order.
  int KeyList(const std::string& ns, size_t limit);
  int KeyRemove(const std::string& ns, const std::string& salt,
                const std::vector<std::string>& hex_keys);
  int Usage(const std::string& ns);
  // Of all namespaces if `ns` is empty.
  int Trim(const std::string& ns, std::optional<uint64_t> to_bytes,
           std::optional<absl::Duration> older_than);

  int TierDescribe();
  int ScrubStart();
  int ScrubStatus();

  // Of all tiers; 0 if the node does not answer.
  uint64_t CapacityBytes();

 private:
  // One call; reports its error. Prints nothing else.
  template <typename Request, typename Response, typename Method>
  int Ask(Method method, const Request& request, Response& response);
  template <typename Request, typename Response, typename Method>
  int Call(Method method, const Request& request, Response& response);

  const std::unique_ptr<banyan::v1::Admin::Stub> stub_;
  const absl::Duration timeout_;
  const Output output_;
};

}  // namespace banyan::ctl
