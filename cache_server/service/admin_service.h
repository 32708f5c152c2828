// The gRPC face of the engine for operators. Same rules as CacheService.
#pragma once

#include <grpcpp/grpcpp.h>

#include <functional>

#include "banyan/v1/admin.grpc.pb.h"
#include "cache_server/engine/block_store.h"
#include "cache_server/engine/mover.h"
#include "tiers/io/executor.h"

namespace banyan::service {

class AdminService final : public banyan::v1::Admin::CallbackService {
 public:
  // All outlive *this. `state` names the node's state for Stats. No mover: the
  // node has no SSD.
  AdminService(engine::BlockStore& store, engine::Mover* mover,
               tiers::Executor& executor, const Clock& clock,
               std::function<std::string()> state);
  ~AdminService() override;  // Not inline: the base is large.

  grpc::ServerUnaryReactor* ListNamespaces(
      grpc::CallbackServerContext* context,
      const banyan::v1::ListNamespacesRequest* request,
      banyan::v1::ListNamespacesResponse* response) override;
  grpc::ServerUnaryReactor* DescribeNamespace(
      grpc::CallbackServerContext* context,
      const banyan::v1::DescribeNamespaceRequest* request,
      banyan::v1::DescribeNamespaceResponse* response) override;
  grpc::ServerUnaryReactor* DropNamespace(
      grpc::CallbackServerContext* context,
      const banyan::v1::DropNamespaceRequest* request,
      banyan::v1::DropNamespaceResponse* response) override;
  grpc::ServerUnaryReactor* Delete(
      grpc::CallbackServerContext* context,
      const banyan::v1::DeleteRequest* request,
      banyan::v1::DeleteResponse* response) override;
  grpc::ServerUnaryReactor* Stat(grpc::CallbackServerContext* context,
                                 const banyan::v1::StatRequest* request,
                                 banyan::v1::StatResponse* response) override;
  grpc::ServerUnaryReactor* ListBlocks(
      grpc::CallbackServerContext* context,
      const banyan::v1::ListBlocksRequest* request,
      banyan::v1::ListBlocksResponse* response) override;
  grpc::ServerUnaryReactor* Usage(grpc::CallbackServerContext* context,
                                  const banyan::v1::UsageRequest* request,
                                  banyan::v1::UsageResponse* response) override;
  grpc::ServerUnaryReactor* Trim(grpc::CallbackServerContext* context,
                                 const banyan::v1::TrimRequest* request,
                                 banyan::v1::TrimResponse* response) override;
  grpc::ServerUnaryReactor* DescribeTiers(
      grpc::CallbackServerContext* context,
      const banyan::v1::DescribeTiersRequest* request,
      banyan::v1::DescribeTiersResponse* response) override;
  grpc::ServerUnaryReactor* StartScrub(
      grpc::CallbackServerContext* context,
      const banyan::v1::StartScrubRequest* request,
      banyan::v1::StartScrubResponse* response) override;
  grpc::ServerUnaryReactor* ScrubStatus(
      grpc::CallbackServerContext* context,
      const banyan::v1::ScrubStatusRequest* request,
      banyan::v1::ScrubStatusResponse* response) override;
  grpc::ServerUnaryReactor* Stats(grpc::CallbackServerContext* context,
                                  const banyan::v1::StatsRequest* request,
                                  banyan::v1::StatsResponse* response) override;
  grpc::ServerUnaryReactor* Version(
      grpc::CallbackServerContext* context,
      const banyan::v1::VersionRequest* request,
      banyan::v1::VersionResponse* response) override;

 private:
  void SetRecord(const engine::Namespace& ns,
                 banyan::v1::NamespaceRecord* out) const;

  // Runs `call` where it may block on the disk.
  template <typename Call>
  grpc::ServerUnaryReactor* RunBlocking(grpc::CallbackServerContext* context,
                                        Call call);

  engine::BlockStore& store_;
  engine::Mover* const mover_;
  tiers::Executor& executor_;
  const Clock& clock_;
  const absl::Duration started_;
  const std::function<std::string()> state_;
};

}  // namespace banyan::service
