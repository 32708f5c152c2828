// banyanctl: the command line of Banyan. Commands and their flags are declared
// here; what they do is in admin.h, bench.h, blocks.h, codec_eval.h, generate.h,
// replay.h, simulate.h and verify.h.
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <atomic>
#include <cstdio>
#include <fstream>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/escaping.h"
#include "absl/strings/str_join.h"
#include "absl/time/time.h"
#include "base/program_tuning.h"
#include "base/random_id.h"
#include "base/status_macros.h"
#include "base/units.h"
#include "client/cpp/client.h"
#include "client/ctl/admin.h"
#include "client/ctl/bench.h"
#include "client/ctl/blocks.h"
#include "client/ctl/bounds.h"
#include "client/ctl/codec_calibrate.h"
#include "client/ctl/codec_eval.h"
#include "client/ctl/exit_code.h"
#include "client/ctl/generate.h"
#include "client/ctl/replay.h"
#include "client/ctl/report.h"
#include "client/ctl/simulate.h"
#include "client/ctl/verify.h"
#include "tiers/placement/eviction_policy.h"

namespace banyan::ctl {
namespace {

// What the flags say.
struct Arguments {
  std::string server = "127.0.0.1:7600";
  std::string output = "table";
  int timeout_ms = 5000;
  std::string transport = "auto";

  std::string name;
  NamespaceArguments space_to_create;
  ChainArguments chain;
  GetOptions get;
  std::string file = "-";
  bool is_confirmed = false;
  bool is_durable = false;
  std::string to_bytes;
  std::string older_than;
  bool is_all = false;
  size_t list_limit = 100;

  std::vector<std::string> traces;
  std::string block_bytes = "4KiB";
  std::string shape;
  std::string kv_codec;
  uint32_t block_tokens = 512;
  uint32_t concurrency = 8;
  std::string mode = "closed";
  double speed = 1;
  size_t limit = 0;
  std::string json_path;
  std::string html_path;
  SimulateOptions simulate;

  std::string model_path = kDefaultModelPath;
  std::string vocabulary_path;
  std::string prompt_path;
  std::string space;
  bool is_alone = false;
  GenerateOptions generate;
  std::string text_path = kDefaultTextPath;
  CodecEvalOptions codec_eval;
  CodecCalibrateOptions codec_calibrate;
  std::string file_path;
  std::string calibration_path;
  std::string element_type = "fp16";

  bool is_quick = false;
  std::string bench_block_bytes = "2MiB";
  uint32_t bench_blocks = 128;
  uint32_t bench_chain_blocks = 16;
  uint32_t bench_threads = 1;
  double bench_seconds = 10;
};

Durability DurabilityOf(const Arguments& arguments) {
  return arguments.is_durable ? Durability::kDurable : Durability::kMemory;
}

int Usage(const std::string& message) {
  std::fprintf(stderr, "banyanctl: %s\n", message.c_str());
  return kExitUsage;
}

TransportKind TransportOf(const Arguments& arguments) {
  if (arguments.transport == "shm") return TransportKind::kShm;
  if (arguments.transport == "ucx") return TransportKind::kUcx;
  if (arguments.transport == "grpc") return TransportKind::kGrpc;
  return TransportKind::kAuto;
}

enum class Log { kQuiet, kStderr };

std::unique_ptr<Client> Connect(const Arguments& arguments,
                                uint32_t concurrency = 4,
                                Log log = Log::kQuiet) {
  ClientOptions options{.endpoint = arguments.server,
                        .engine = "banyanctl " BANYAN_VERSION,
                        .lookup_timeout_ms = arguments.timeout_ms,
                        .num_workers = static_cast<int>(concurrency),
                        .transport = TransportOf(arguments)};
  if (log == Log::kStderr) {
    options.log = [](std::string_view line) {
      std::fprintf(stderr, "banyanctl: %.*s\n", static_cast<int>(line.size()),
                   line.data());
    };
  }
  auto client = Client::Connect(options);
  return client.ok() ? *std::move(client) : nullptr;
}

Admin MakeAdmin(const Arguments& arguments) {
  return Admin(
      grpc::CreateChannel(arguments.server, grpc::InsecureChannelCredentials()),
      absl::Milliseconds(arguments.timeout_ms),
      {.is_json = arguments.output == "json"});
}

void ShowProgress(size_t done, size_t total, double hit_ratio) {
  if (isatty(STDERR_FILENO) == 0) return;
  constexpr int kWidth = 40;
  const int filled = static_cast<int>(done * kWidth / total);
  std::fprintf(stderr, "\r[%-*s] %zu/%zu requests, hit ratio %.1f %%%s", kWidth,
               std::string(filled, '#').c_str(), done, total, 100 * hit_ratio,
               done == total ? "\n" : "");
}

bool WriteReport(const std::string& path, const std::string& text) {
  if (path.empty()) return true;
  std::ofstream file(path);
  file << text;
  file.close();
  if (file) return true;
  std::fprintf(stderr, "banyanctl: cannot write \"%s\".\n", path.c_str());
  return false;
}

absl::StatusOr<ReplayOptions> ReplayOptionsOf(const Arguments& arguments) {
  ReplayOptions options;
  if (arguments.shape.empty()) {
    BANYAN_ASSIGN_OR_RETURN(const uint64_t bytes,
                            ParseBytes(arguments.block_bytes));
    if (bytes == 0) {
      return absl::InvalidArgumentError(
          "--block-bytes: 0. Blocks hold at least 1 byte.");
    }
    options = OpaqueReplay(bytes);
    options.block_tokens = arguments.block_tokens;
  } else {
    BANYAN_ASSIGN_OR_RETURN(
        options, ShapedReplay(arguments.shape, arguments.block_tokens,
                              arguments.kv_codec));
  }
  options.is_open_loop = arguments.mode == "open";
  options.speed = arguments.speed;
  options.concurrency = arguments.concurrency;
  options.durability = DurabilityOf(arguments);
  return options;
}

absl::StatusOr<std::vector<TraceRequest>> ReadTraces(
    const Arguments& arguments) {
  std::vector<TraceRequest> trace;
  for (const std::string& path : arguments.traces) {
    BANYAN_ASSIGN_OR_RETURN(auto part, ReadTrace(path));
    AppendTrace(std::move(part), trace);
  }
  if (arguments.limit > 0 && trace.size() > arguments.limit) {
    trace.resize(arguments.limit);
  }
  return trace;
}

void ShowSimulation(const std::string& what, double share) {
  if (isatty(STDERR_FILENO) == 0) return;
  std::fprintf(stderr, "\r\033[K%s: %.0f %%", what.c_str(), 100 * share);
}

int RunSimulate(const Arguments& arguments) {
  const auto trace = ReadTraces(arguments);
  if (!trace.ok()) return Report(trace.status());
  const auto report =
      RunSimulations(*trace, arguments.simulate, &ShowSimulation);
  if (isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "\r\033[K");
  if (!report.ok()) return Report(report.status());
  const std::string json = SimulationJson(*report);
  std::printf("%s", arguments.output == "json"
                        ? json.c_str()
                        : SimulationText(*report).c_str());
  const bool is_written =
      WriteReport(arguments.json_path, json) &&
      WriteReport(arguments.html_path, SimulationHtml(*report));
  return is_written ? kExitOk : kExitFailure;
}

int RunReplay(const Arguments& arguments) {
  const auto options = ReplayOptionsOf(arguments);
  if (!options.ok()) return Report(options.status());
  const auto trace = ReadTraces(arguments);
  if (!trace.ok()) return Report(trace.status());
  const auto client = Connect(arguments, arguments.concurrency, Log::kStderr);
  const absl::Status ready = client->WaitReady(arguments.timeout_ms);
  if (!ready.ok()) return Report(ready);
  auto report = Replay(*client, *trace, *options, &ShowProgress);
  if (!report.ok()) return Report(report.status());
  report->capacity_blocks =
      MakeAdmin(arguments).CapacityBytes() / report->stored_block_bytes;
  report->infinite_hits = InfiniteHits(*trace);
  report->belady_hits = BeladyHits(*trace, report->capacity_blocks);
  const std::string json = ReportJson(*report);
  std::printf("%s", arguments.output == "json" ? json.c_str()
                                               : ReportText(*report).c_str());
  const bool is_written = WriteReport(arguments.json_path, json) &&
                          WriteReport(arguments.html_path, ReportHtml(*report));
  if (report->wrong_blocks > 0) return kExitIntegrity;
  if (report->errors > 0) return kExitPartial;
  return is_written ? kExitOk : kExitFailure;
}

std::atomic<bool> is_interrupted{false};

// A bench that is interrupted ends early, reports, and cleans up.
int RunBenchCommand(const Arguments& arguments) {
  const auto block_bytes = ParseBytes(arguments.bench_block_bytes);
  if (!block_bytes.ok() || *block_bytes == 0 || *block_bytes > 64 * kMiB) {
    return Usage("--block-bytes: want a size such as 2MiB, 64MiB at most.");
  }
  if (arguments.bench_blocks < arguments.bench_chain_blocks) {
    return Usage("--blocks: fewer than --chain-blocks.");
  }
  const auto client = Connect(arguments, arguments.bench_threads, Log::kStderr);
  const absl::Status ready = client->WaitReady(arguments.timeout_ms);
  if (!ready.ok()) return Report(ready);
  signal(SIGINT, [](int) { is_interrupted = true; });
  const std::string space =
      "bench-" + absl::BytesToHexString(RandomId().substr(0, 8));
  constexpr double kQuickSeconds = 2;
  const auto report = RunBench(
      *client,
      {.space = space,
       .block_bytes = *block_bytes,
       .blocks = arguments.bench_blocks,
       .chain_blocks = arguments.bench_chain_blocks,
       .threads = arguments.bench_threads,
       .seconds = arguments.is_quick ? kQuickSeconds : arguments.bench_seconds,
       .is_stopped = &is_interrupted});
  const absl::Status dropped = MakeAdmin(arguments).DropNamespace(space);
  if (!report.ok()) return Report(report.status());
  std::printf("%s", arguments.output == "json" ? BenchJson(*report).c_str()
                                               : BenchText(*report).c_str());
  if (report->wrong_blocks > 0) return kExitIntegrity;
  if (report->put.calls == 0) return kExitUnavailable;
  if (report->errors > 0) return kExitPartial;
  return Report(dropped);
}

absl::Status RunGenerate(const Arguments& arguments) {
  GenerateOptions options = arguments.generate;
  if (!arguments.prompt_path.empty()) {
    BANYAN_ASSIGN_OR_RETURN(options.prompt, ReadFile(arguments.prompt_path));
  }
  BANYAN_ASSIGN_OR_RETURN(
      const LoadedModel model,
      LoadModel(arguments.model_path, arguments.vocabulary_path));
  std::unique_ptr<Client> client;
  std::optional<PrefixStore> store;
  if (!arguments.is_alone) {
    client = Connect(arguments, 1, Log::kStderr);
    BANYAN_RETURN_IF_ERROR(client->WaitReady(arguments.timeout_ms));
    BANYAN_ASSIGN_OR_RETURN(
        store, PrefixStore::Open(*client, arguments.space,
                                 FingerprintOf(model, ElementType::kFp16,
                                               options.block_tokens)));
  }
  BANYAN_ASSIGN_OR_RETURN(const GenerateReport report,
                          Generate(model, store ? &*store : nullptr, options));
  std::printf("%s", arguments.output == "json" ? GenerateJson(report).c_str()
                                               : GenerateText(report).c_str());
  return absl::OkStatus();
}

void ShowShare(double share) {
  if (isatty(STDERR_FILENO) == 0) return;
  std::fprintf(stderr, "\r\033[K%.0f %%", 100 * share);
}

int RunCodecEval(const Arguments& arguments) {
  const auto model = LoadModel(arguments.model_path, arguments.vocabulary_path);
  if (!model.ok()) return Report(model.status());
  const auto text = ReadFile(arguments.text_path);
  if (!text.ok()) return Report(text.status());
  CodecEvalOptions options = arguments.codec_eval;
  options.type = arguments.element_type == "bf16" ? ElementType::kBf16
                                                  : ElementType::kFp16;
  if (!arguments.calibration_path.empty()) {
    const auto calibration_text = ReadFile(arguments.calibration_path);
    if (!calibration_text.ok()) return Report(calibration_text.status());
    options.calibration_text = *calibration_text;
  }
  const CodecEvalProgress progress{
      .done = &ShowShare, .window = [&](const CodecEvalReport& so_far) {
        (void)WriteReport(arguments.json_path, CodecEvalJson(so_far));
      }};
  const auto report = EvaluateCodecs(*model, *text, options, progress);
  if (isatty(STDERR_FILENO) != 0) std::fprintf(stderr, "\r\033[K");
  if (!report.ok()) return Report(report.status());
  const std::string json = CodecEvalJson(*report);
  std::printf("%s", arguments.output == "json"
                        ? json.c_str()
                        : CodecEvalText(*report).c_str());
  const bool is_written =
      WriteReport(arguments.json_path, json) &&
      WriteReport(arguments.html_path, CodecEvalHtml(*report));
  return is_written ? kExitOk : kExitFailure;
}

int RunCodecCalibrate(const Arguments& arguments) {
  const auto model = LoadModel(arguments.model_path, arguments.vocabulary_path);
  if (!model.ok()) return Report(model.status());
  const auto text = ReadFile(arguments.text_path);
  if (!text.ok()) return Report(text.status());
  CodecCalibrateOptions options = arguments.codec_calibrate;
  options.type = arguments.element_type == "bf16" ? ElementType::kBf16
                                                  : ElementType::kFp16;
  const auto made = CalibrateCodec(*model, *text, options);
  if (!made.ok()) return Report(made.status());
  if (!WriteReport(arguments.file_path, made->bytes)) return kExitFailure;
  std::printf("%s", arguments.output == "json"
                        ? CodecCalibrationJson(*made).c_str()
                        : CodecCalibrationText(*made).c_str());
  return kExitOk;
}

int RunTrim(const Arguments& arguments) {
  if (arguments.name.empty() != arguments.is_all) {
    return Usage("trim: name one namespace, or pass --all. Not both.");
  }
  std::optional<uint64_t> to_bytes;
  if (!arguments.to_bytes.empty()) {
    const auto bytes = ParseBytes(arguments.to_bytes);
    if (!bytes.ok()) return Report(bytes.status());
    to_bytes = *bytes;
  }
  std::optional<absl::Duration> older_than;
  if (!arguments.older_than.empty()) {
    absl::Duration duration;
    if (!absl::ParseDuration(arguments.older_than, &duration)) {
      return Usage("--older-than: want a duration such as 10m.");
    }
    older_than = duration;
  }
  return MakeAdmin(arguments).Trim(arguments.name, to_bytes, older_than);
}

// Destructive commands ask a person, and refuse to guess without one.
bool IsConfirmed(const Arguments& arguments, const std::string& what) {
  if (arguments.is_confirmed) return true;
  if (isatty(STDIN_FILENO) == 0) {
    Usage(what + ": not a terminal. Pass --yes to mean it.");
    return false;
  }
  std::fprintf(stderr, "%s? [y/N] ", what.c_str());
  const int answer = std::getchar();
  return answer == 'y' || answer == 'Y';
}

using Command = std::function<int(const Arguments&)>;

// A subcommand whose --help ends with an example.
CLI::App* Declare(CLI::App& parent, const std::string& name,
                  const std::string& about, const std::string& example,
                  Command& chosen, const Command& command) {
  CLI::App* const app = parent.add_subcommand(name, about);
  app->footer("Example: " + example);
  app->callback([&chosen, command] { chosen = command; });
  return app;
}

void AddChain(CLI::App& app, Arguments& arguments) {
  app.add_option("namespace", arguments.chain.ns, "Name of the namespace")
      ->required();
  app.add_option("keys", arguments.chain.hex_keys,
                 "Keys of the chain in hex, from its root")
      ->required();
  app.add_option("--salt", arguments.chain.salt, "Cache salt");
}

void DeclareNamespace(CLI::App& top, Arguments& a, Command& chosen) {
  CLI::App* const group = top.add_subcommand("namespace", "Namespaces");
  group->require_subcommand(1);
  CLI::App* app =
      Declare(*group, "create", "Create a namespace, opaque without --shape",
              "banyanctl namespace create demo --model tiny", chosen,
              [](const Arguments& a) {
                return NamespaceCreate(*Connect(a), a.space_to_create);
              });
  NamespaceArguments& space = a.space_to_create;
  app->add_option("name", space.name, "a-z 0-9 - _ ., 1-63 chars")->required();
  app->add_option("--model", space.model, "Model (default: the name)");
  app->add_option("--revision", space.revision, "Revision of the weights");
  auto* const shape =
      app->add_option("--shape", space.shape,
                      "Layout of blocks: LAYERSxKV_HEADSxHEAD_DIM[:DTYPE]");
  app->add_option("--block-tokens", space.block_tokens, "Tokens of a block")
      ->needs(shape)
      ->capture_default_str();
  auto* const kv_codec =
      app->add_option("--kv-codec", space.kv_codec, "Codec of clients");
  kv_codec->needs(shape);
  app->add_option("--ssd-codec", space.ssd_codec, "Codec of the node's SSD")
      ->needs(shape)
      ->excludes(kv_codec);
  app->add_option("--ssd-error-max", space.ssd_error_max,
                  "Blocks that it would put farther off are stored as they "
                  "are; 0: 0.05")
      ->capture_default_str();
  app->add_option("--calibration", space.calibration_path,
                  "File with what a codec must know of the model, as of "
                  "codec calibrate")
      ->needs(shape);
  Declare(*group, "list", "List namespaces", "banyanctl namespace list", chosen,
          [](const Arguments& a) { return MakeAdmin(a).NamespaceList(); });
  app = Declare(*group, "describe", "Show one namespace",
                "banyanctl namespace describe demo", chosen,
                [](const Arguments& a) {
                  return MakeAdmin(a).NamespaceDescribe(a.name);
                });
  app->add_option("name", a.name, "Name")->required();
  app = Declare(*group, "drop", "Remove a namespace and its blocks",
                "banyanctl namespace drop demo --yes", chosen,
                [](const Arguments& a) {
                  if (!IsConfirmed(a, "drop namespace \"" + a.name + "\"")) {
                    return kExitUsage;
                  }
                  return MakeAdmin(a).NamespaceDrop(a.name);
                });
  app->add_option("name", a.name, "Name")->required();
  app->add_flag("--yes", a.is_confirmed, "Do not ask");
}

void DeclareBlocks(CLI::App& top, Arguments& a, Command& chosen) {
  CLI::App* app =
      Declare(top, "put", "Store a file as the last block of a chain",
              "banyanctl put demo 00aa 00bb --file block.bin", chosen,
              [](const Arguments& a) {
                return PutFile(*Connect(a), a.chain, a.file, DurabilityOf(a));
              });
  AddChain(*app, a);
  app->add_flag("--durable", a.is_durable, "Return when it is on disk");
  app->add_option("--file", a.file, "File; - is standard input");
  app = Declare(top, "get", "Read the last block of a chain",
                "banyanctl get demo 00aa 00bb --file block.bin", chosen,
                [](const Arguments& a) {
                  return GetFile(*Connect(a), a.chain, a.file, a.get);
                });
  AddChain(*app, a);
  app->add_option("--error-max", a.get.error_max,
                  "Largest squared error over squared size; a block that is "
                  "farther off is not found");
  app->add_option("--file", a.file, "File; - is standard output");
  app =
      Declare(top, "match", "Length of the longest stored prefix",
              "banyanctl match demo 00aa 00bb", chosen, [](const Arguments& a) {
                return MatchChain(*Connect(a), a.chain, a.output == "json");
              });
  AddChain(*app, a);
  CLI::App* const group = top.add_subcommand("key", "Single blocks");
  group->require_subcommand(1);
  app = Declare(*group, "stat", "What is known of blocks",
                "banyanctl key stat demo 00aa", chosen, [](const Arguments& a) {
                  return MakeAdmin(a).KeyStat(a.chain.ns, a.chain.salt,
                                              a.chain.hex_keys);
                });
  AddChain(*app, a);
  app = Declare(*group, "ls", "List the blocks of a namespace",
                "banyanctl key ls demo --limit 20", chosen,
                [](const Arguments& a) {
                  return MakeAdmin(a).KeyList(a.name, a.list_limit);
                });
  app->add_option("namespace", a.name, "Name of the namespace")->required();
  app->add_option("--limit", a.list_limit, "At most so many")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app = Declare(*group, "rm", "Remove blocks and what hangs below them",
                "banyanctl key rm demo 00aa --yes", chosen,
                [](const Arguments& a) {
                  if (!IsConfirmed(a, "remove blocks")) return kExitUsage;
                  return MakeAdmin(a).KeyRemove(a.chain.ns, a.chain.salt,
                                                a.chain.hex_keys);
                });
  AddChain(*app, a);
  app->add_flag("--yes", a.is_confirmed, "Do not ask");
}

void DeclareNode(CLI::App& top, Arguments& a, Command& chosen) {
  Declare(top, "status", "State, tiers and counters of the node",
          "banyanctl status -o json", chosen,
          [](const Arguments& a) { return MakeAdmin(a).Status(); });
  CLI::App* app = Declare(
      top, "usage", "Bytes by tier, blocks by namespace", "banyanctl usage",
      chosen, [](const Arguments& a) { return MakeAdmin(a).Usage(a.name); });
  app->add_option("namespace", a.name, "Only this one");
  app = Declare(top, "trim", "Evict the longest untouched blocks",
                "banyanctl trim --all --to 1GiB --yes", chosen,
                [](const Arguments& a) {
                  if (!IsConfirmed(a, "trim")) return kExitUsage;
                  return RunTrim(a);
                });
  app->add_option("namespace", a.name, "Only this one");
  app->add_flag("--all", a.is_all, "All namespaces");
  app->add_option("--to", a.to_bytes, "Until the node holds at most so much");
  app->add_option("--older-than", a.older_than, "Not asked for since so long");
  app->add_flag("--yes", a.is_confirmed, "Do not ask");
  CLI::App* const tier = top.add_subcommand("tier", "Where blocks live");
  tier->require_subcommand(1);
  Declare(*tier, "describe", "What each tier is, holds and how it does",
          "banyanctl tier describe", chosen,
          [](const Arguments& a) { return MakeAdmin(a).TierDescribe(); });
  app = Declare(top, "verify", "Check an SSD directory while no node runs",
                "banyanctl verify /var/lib/banyan/ssd", chosen,
                [](const Arguments& a) {
                  return VerifySsdDirectory(a.name, a.output == "json");
                });
  app->add_option("dir", a.name, "Directory, as in --ssd-dir")->required();
  CLI::App* const scrub =
      top.add_subcommand("scrub", "Verify what is on the SSD");
  scrub->require_subcommand(1);
  Declare(*scrub, "start", "Verify everything once, now",
          "banyanctl scrub start", chosen,
          [](const Arguments& a) { return MakeAdmin(a).ScrubStart(); });
  Declare(*scrub, "status", "What was verified since the node started",
          "banyanctl scrub status", chosen,
          [](const Arguments& a) { return MakeAdmin(a).ScrubStatus(); });
  Declare(top, "version", "Versions of this program and of the server",
          "banyanctl version", chosen, [](const Arguments& a) {
            if (a.output != "json") {
              std::printf("client  %s\n", BANYAN_VERSION);
            }
            return MakeAdmin(a).Version();
          });
}

void DeclareReplay(CLI::App& top, Arguments& a, Command& chosen) {
  CLI::App* const app = Declare(
      top, "replay", "Replay a trace and verify every byte",
      "banyanctl replay trace.jsonl.zst --block-bytes 4KiB --html report.html",
      chosen, &RunReplay);
  app->add_option("files", a.traces, "Traces (Mooncake JSONL, plain or .zst)")
      ->required();
  auto* const bytes =
      app->add_option("--block-bytes", a.block_bytes, "Payload of a block")
          ->capture_default_str();
  auto* const shape =
      app->add_option(
             "--shape", a.shape,
             "Blocks of a model instead: LAYERSxKV_HEADSxHEAD_DIM[:DTYPE]"
             ", such as 32x8x128:bf16; a piece is a layer")
          ->excludes(bytes);
  app->add_option("--kv-codec", a.kv_codec,
                  "Encode blocks on their way, such as rotlm4; they must come "
                  "back as exactly what the codec makes of them")
      ->needs(shape);
  app->add_option("--block-tokens", a.block_tokens, "Tokens of a block")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app->add_option("--mode", a.mode,
                  "closed: one after the other; open: at "
                  "their timestamps")
      ->check(CLI::IsMember({"open", "closed"}))
      ->capture_default_str();
  app->add_option("--speed", a.speed, "Of the open loop; 2 is twice as fast")
      ->check(CLI::PositiveNumber);
  app->add_option("--concurrency", a.concurrency,
                  "Requests under way at most, in the open loop")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app->add_flag("--durable", a.is_durable, "Writes return when on disk");
  app->add_option("--limit", a.limit, "Only the first so many requests");
  app->add_option("--json", a.json_path, "Write the report as JSON");
  app->add_option("--html", a.html_path, "Write the report as an HTML page");
}

void DeclareSimulate(CLI::App& top, Arguments& a, Command& chosen) {
  CLI::App* const app = Declare(
      top, "simulate", "Hit ratio of eviction policies over a trace; no server",
      "banyanctl simulate trace.jsonl.zst --policy lru,arc --capacity-blocks "
      "1000,10000 --html report.html",
      chosen, &RunSimulate);
  SimulateOptions& simulate = a.simulate;
  app->add_option("files", a.traces,
                  "Traces (Mooncake JSONL, plain or .zst), read as one")
      ->required();
  app->add_option("--policy", simulate.policies,
                  absl::StrCat("Of: ", absl::StrJoin(
                                           tiers::EvictionPolicyNames(), ", ")))
      ->delimiter(',')
      ->required();
  app->add_option("--capacity-blocks", simulate.capacities_blocks,
                  "Blocks that fit")
      ->delimiter(',')
      ->required();
  app->add_option("--hint-told", simulate.hints.told,
                  "Share of the endings of conversations that is told");
  app->add_option("--hint-false", simulate.hints.untrue,
                  "Share of the other requests told to be endings");
  app->add_option("--seed", simulate.hints.seed, "Of who tells")
      ->capture_default_str();
  app->add_option("--token-ms", simulate.hints.token_ms,
                  "Milliseconds to generate a token: when an answer is "
                  "complete, its length is told (0: never)")
      ->capture_default_str();
  app->add_option("--limit", a.limit, "Only the first so many requests");
  app->add_option("--json", a.json_path, "Write the report as JSON");
  app->add_option("--html", a.html_path, "Write the report as an HTML page");
}

void DeclareBench(CLI::App& top, Arguments& a, Command& chosen) {
  CLI::App* const app = Declare(
      top, "bench",
      "Measure put, match and get at a running node, with blocks of its own "
      "that may evict others; they are removed at the end",
      "banyanctl bench --quick --block-bytes 256KiB --threads 4", chosen,
      &RunBenchCommand);
  app->add_flag("--quick", a.is_quick, "A few seconds in all");
  app->add_option("--block-bytes", a.bench_block_bytes, "Payload of a block")
      ->capture_default_str();
  app->add_option("--blocks", a.bench_blocks, "Blocks written in all")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--chain-blocks", a.bench_chain_blocks, "Blocks a call")
      ->check(CLI::Range(1, 4096))
      ->capture_default_str();
  app->add_option("--threads", a.bench_threads, "Calls in flight")
      ->check(CLI::Range(1, 256))
      ->capture_default_str();
  app->add_option("--seconds", a.bench_seconds, "In all, at most")
      ->check(CLI::Range(0.1, 3600.0))
      ->capture_default_str();
}

void AddModel(CLI::App& app, Arguments& a) {
  app.add_option(
         "--model", a.model_path,
         "A GGUF file of a llama model, or an fp32 checkpoint of llama2.c")
      ->capture_default_str();
  app.add_option("--vocabulary", a.vocabulary_path,
                 "Of such a checkpoint (default: tok512.bin beside it)");
}

void DeclareModel(CLI::App& top, Arguments& a, Command& chosen) {
  CLI::App* const group = top.add_subcommand("model", "A small real model");
  group->require_subcommand(1);
  CLI::App* const app = Declare(
      *group, "generate",
      "Continue a prompt: its longest stored prefix comes from the node, the "
      "rest is computed, and full blocks are stored",
      "banyanctl model generate --prompt \"Once upon a time\" --tokens 40",
      chosen, [](const Arguments& a) { return Report(RunGenerate(a)); });
  AddModel(*app, a);
  GenerateOptions& generate = a.generate;
  auto* const prompt =
      app->add_option("--prompt", generate.prompt, "What to continue");
  app->add_option("--prompt-file", a.prompt_path, "The same, from a file")
      ->excludes(prompt);
  app->add_option("--tokens", generate.tokens, "To generate, at most")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--block-tokens", generate.block_tokens, "Tokens of a block")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  app->add_option("--namespace", a.space,
                  "Where blocks are stored (default: one for this model)");
  auto* const alone =
      app->add_flag("--no-store", a.is_alone, "Ask no node: compute all");
  app->add_option("--codec", generate.codec,
                  "What is read goes through this codec, such as int4, and "
                  "next tokens are compared; nothing is stored")
      ->excludes(alone);
}

void AddElementType(CLI::App& app, Arguments& a) {
  app.add_option("--type", a.element_type, "Of keys and values: fp16 or bf16")
      ->check(CLI::IsMember({"fp16", "bf16"}))
      ->capture_default_str();
}

void DeclareCodecCalibrate(CLI::App& group, Arguments& a, Command& chosen) {
  CLI::App* const app = Declare(
      group, "calibrate",
      "What nuq, or a weighted cold codec, must know of a model, as a file for "
      "namespace create; no server",
      "banyanctl codec calibrate --model model.gguf --text text.txt --codec "
      "k=cold2:weighted:pre,v=cold2:weighted --out model.bynq",
      chosen, &RunCodecCalibrate);
  AddModel(*app, a);
  CodecCalibrateOptions& calibrate = a.codec_calibrate;
  app->add_option("--text", a.text_path, "What it reads: like what is served")
      ->required();
  app->add_option("--codec", calibrate.spec, "The codec")->required();
  app->add_option("--out", a.file_path, "The file")->required();
  app->add_option("--tokens", calibrate.tokens,
                  "Of the text, at most; whole windows")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--window", calibrate.window_tokens,
                  "Tokens that are read in one go; whole blocks of 64")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  AddElementType(*app, a);
}

void DeclareCodec(CLI::App& top, Arguments& a, Command& chosen) {
  CLI::App* const group =
      top.add_subcommand("codec", "Smaller forms of keys and values");
  group->require_subcommand(1);
  DeclareCodecCalibrate(*group, a, chosen);
  CLI::App* const app = Declare(
      *group, "eval",
      "What codecs do to a real model that reads a text; no server",
      "banyanctl codec eval --codec int4 --codec k=int4:channel,v=int4 --html "
      "codecs.html",
      chosen, &RunCodecEval);
  AddModel(*app, a);
  CodecEvalOptions& eval = a.codec_eval;
  app->add_option("--text", a.text_path, "What it reads")
      ->capture_default_str();
  app->add_option("--codec", eval.specs,
                  "A codec; more than once for several (default: all)");
  app->add_option("--tokens", eval.tokens, "Of the text, at most")
      ->check(CLI::Range(1, 1 << 30))
      ->capture_default_str();
  app->add_option("--window", eval.window_tokens,
                  "Tokens that are read in one go; whole blocks")
      ->check(CLI::Range(1, 1 << 20))
      ->capture_default_str();
  app->add_option("--block-tokens", eval.block_tokens, "Tokens of a block")
      ->check(CLI::Range(1, 65536))
      ->capture_default_str();
  AddElementType(*app, a);
  auto* const calibration = app->add_option(
      "--calibration-text", a.calibration_path,
      "Calibrates the codecs that want it; another text than --text");
  app->add_option("--calibration-tokens", eval.calibration_tokens,
                  "Of that text, at most; whole windows")
      ->check(CLI::Range(1, 1 << 20))
      ->needs(calibration)
      ->capture_default_str();
  app->add_option("--json", a.json_path,
                  "Write the report as JSON, after every window");
  app->add_option("--html", a.html_path, "Write the report as an HTML page");
}

int Main(int argc, char** argv) {
  Arguments arguments;
  Command chosen;
  CLI::App top("Administers and exercises a Banyan node.", "banyanctl");
  top.require_subcommand(1);
  top.fallthrough();
  top.footer(
      "Exit: 0 ok, 1 failure, 2 usage, 3 not found, 4 auth, 5 "
      "unavailable, 6 partial, 7 integrity.\nExample: banyanctl "
      "--server 127.0.0.1:7600 status");
  top.add_option("--server", arguments.server, "gRPC address of the node")
      ->capture_default_str();
  top.add_option("-o,--output", arguments.output, "table or json")
      ->check(CLI::IsMember({"table", "json"}))
      ->capture_default_str();
  top.add_option("--transport", arguments.transport,
                 "How bytes move: auto, shm, ucx or grpc")
      ->check(CLI::IsMember({"auto", "shm", "ucx", "grpc"}))
      ->capture_default_str();
  top.add_option("--timeout-ms", arguments.timeout_ms, "Deadline of a call")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  DeclareNode(top, arguments, chosen);
  DeclareNamespace(top, arguments, chosen);
  DeclareBlocks(top, arguments, chosen);
  DeclareReplay(top, arguments, chosen);
  DeclareSimulate(top, arguments, chosen);
  DeclareBench(top, arguments, chosen);
  DeclareModel(top, arguments, chosen);
  DeclareCodec(top, arguments, chosen);
  try {
    top.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    const int code = top.exit(error);
    return code == 0 ? kExitOk : kExitUsage;
  }
  return chosen(arguments);
}

}  // namespace
}  // namespace banyan::ctl

int main(int argc, char** argv) {
  banyan::TuneProgramForBlocks();
  return banyan::ctl::Main(argc, argv);
}
