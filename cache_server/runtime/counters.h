// The node's counters: one atomic each, named as on the metrics page.
//
// Threads: thread-safe; relaxed, so two counters read together may disagree by
//          what happened in between.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace banyan::server {

// BANYAN_COUNTERS(X): X(member, "metric name").
#define BANYAN_COUNTERS(X)                                                    \
  X(lookup_hit, "banyan_lookup_blocks_total{result=\"hit\"}")                 \
  X(lookup_miss, "banyan_lookup_blocks_total{result=\"miss\"}")               \
  X(read_blocks, "banyan_fetch_blocks_total{tier=\"host\"}")                  \
  X(read_bytes, "banyan_fetch_bytes_total{tier=\"host\"}")                    \
  X(cold_blocks, "banyan_fetch_blocks_total{tier=\"ssd\"}")                   \
  X(cold_bytes, "banyan_fetch_bytes_total{tier=\"ssd\"}")                     \
  X(layer_reads, "banyan_layer_reads_total")                                  \
  X(followed_stored, "banyan_followed_blocks_total{result=\"stored\"}")       \
  X(followed_withdrawn, "banyan_followed_blocks_total{result=\"withdrawn\"}") \
  X(below_quality, "banyan_read_misses_total{reason=\"quality\"}")            \
  X(cold_late, "banyan_cold_misses_total{reason=\"deadline\"}")               \
  X(cold_failed, "banyan_cold_misses_total{reason=\"failed\"}")               \
  X(cold_refused, "banyan_cold_misses_total{reason=\"overload\"}")            \
  X(cold_unasked, "banyan_cold_misses_total{reason=\"not_answering\"}")       \
  X(cold_undecodable, "banyan_cold_misses_total{reason=\"codec\"}")           \
  X(promotions, "banyan_promotions_total")                                    \
  X(encoded_blocks, "banyan_ssd_encoding_total{result=\"encoded\"}")          \
  X(unencoded_blocks, "banyan_ssd_encoding_total{result=\"as_it_is\"}")       \
  X(demotions, "banyan_demotions_total")                                      \
  X(demotions_failed, "banyan_demotions_failed_total")                        \
  X(demoted_bytes, "banyan_demoted_bytes_total")                              \
  X(durable_blocks, "banyan_publish_blocks_total{result=\"durable\"}")        \
  X(durable_refused, "banyan_durable_refused_total")                          \
  X(recovered_blocks, "banyan_recovered_blocks_total")                        \
  X(publish_blocks, "banyan_publish_blocks_total{result=\"committed\"}")      \
  X(publish_lost, "banyan_publish_blocks_total{result=\"lost_race\"}")        \
  X(publish_bytes, "banyan_publish_bytes_total")                              \
  X(write_aborted, "banyan_publish_abandoned_total")                          \
  X(write_checksum,                                                           \
    "banyan_verify_total{where=\"arrival\",result=\"checksum\"}")             \
  X(write_size, "banyan_verify_total{where=\"arrival\",result=\"size\"}")     \
  X(write_order, "banyan_verify_total{where=\"arrival\",result=\"order\"}")   \
  X(write_frame, "banyan_verify_total{where=\"arrival\",result=\"frame\"}")   \
  X(write_unknown,                                                            \
    "banyan_verify_total{where=\"arrival\",result=\"unknown\"}")              \
  X(evictions, "banyan_evictions_total{tier=\"host\",reason=\"capacity\"}")   \
  X(evicted_clean,                                                            \
    "banyan_evictions_total{tier=\"host\",reason=\"copy_on_ssd\"}")           \
  X(evicted_cold, "banyan_evictions_total{tier=\"ssd\",reason=\"capacity\"}") \
  X(trimmed, "banyan_evictions_total{tier=\"host\",reason=\"trim\"}")         \
  X(deleted, "banyan_evictions_total{tier=\"host\",reason=\"delete\"}")       \
  X(corrupt_checksum, "banyan_corruption_detected_total{where=\"checksum\"}") \
  X(corrupt_header, "banyan_corruption_detected_total{where=\"header\"}")     \
  X(corrupt_identity, "banyan_corruption_detected_total{where=\"identity\"}") \
  X(corrupt_generation,                                                       \
    "banyan_corruption_detected_total{where=\"generation\"}")                 \
  X(leases_granted, "banyan_leases_total{result=\"granted\"}")                \
  X(leases_expired, "banyan_leases_total{result=\"expired\"}")                \
  X(sessions_opened, "banyan_sessions_total{event=\"opened\"}")               \
  X(sessions_ended, "banyan_sessions_total{event=\"ended\"}")                 \
  X(sessions_fenced, "banyan_sessions_total{event=\"fenced\"}")               \
  X(streams_stalled, "banyan_streams_cut_total{reason=\"stalled\"}")          \
  X(streams_overdue, "banyan_streams_cut_total{reason=\"deadline\"}")         \
  X(streams_orphaned, "banyan_streams_cut_total{reason=\"session\"}")         \
  X(shm_opened, "banyan_shm_connections_total{event=\"opened\"}")             \
  X(shm_closed, "banyan_shm_connections_total{event=\"closed\"}")             \
  X(shm_refused, "banyan_shm_connections_total{event=\"refused\"}")           \
  X(shm_malformed, "banyan_shm_malformed_total")                              \
  X(ucx_opened, "banyan_ucx_connections_total{event=\"opened\"}")             \
  X(ucx_closed, "banyan_ucx_connections_total{event=\"closed\"}")             \
  X(ucx_refused, "banyan_ucx_connections_total{event=\"refused\"}")           \
  X(ucx_stalled, "banyan_ucx_connections_total{event=\"stalled\"}")           \
  X(ucx_malformed, "banyan_ucx_malformed_total")                              \
  X(ucx_overdue, "banyan_ucx_reads_overdue_total")                            \
  X(hints, "banyan_reuse_hints_total")                                        \
  X(near_misses, "banyan_namespace_near_misses_total")                        \
  X(namespaces_refused, "banyan_namespaces_refused_total")                    \
  X(rejected_overload, "banyan_admission_rejected_total{reason=\"overload\"}")

struct Counters {
#define BANYAN_DECLARE(member, name) std::atomic<uint64_t> member{0};
  BANYAN_COUNTERS(BANYAN_DECLARE)
#undef BANYAN_DECLARE

  std::vector<std::pair<std::string, uint64_t>> Read() const {
    return {
#define BANYAN_READ(member, name) \
  {name, member.load(std::memory_order_relaxed)},
        BANYAN_COUNTERS(BANYAN_READ)
#undef BANYAN_READ
    };
  }
};

inline void Add(std::atomic<uint64_t>& counter, uint64_t count = 1) {
  counter.fetch_add(count, std::memory_order_relaxed);
}

}  // namespace banyan::server
