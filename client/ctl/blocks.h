// put, get, match and namespace create: single blocks by hand.
//
// Every function returns the exit code: see client/ctl/exit_code.h.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "client/cpp/client.h"

namespace banyan::ctl {

// A chain named on the command line: hex keys from the root.
struct ChainArguments {
  std::string ns;
  std::string salt;
  std::vector<std::string> hex_keys;
};

// What a namespace is to be.
struct NamespaceArguments {
  std::string name;
  std::string model;  // Empty: the name.
  std::string revision;
  std::string shape;  // As of client/ctl/shape.h. Empty: opaque.
  uint32_t block_tokens = 16;
  std::string kv_codec;
  std::string ssd_codec;
  double ssd_error_max = 0;      // 0: the node's default.
  std::string calibration_path;  // Empty: none.
};

// Opens that namespace.
int NamespaceCreate(Client& client, const NamespaceArguments& arguments);

// Stores the file ("-": standard input) as the last block of the chain.
int PutFile(Client& client, const ChainArguments& chain,
            const std::string& path, Durability durability);

// Writes the last block of the chain to the file ("-": standard output).
int GetFile(Client& client, const ChainArguments& chain,
            const std::string& path, const GetOptions& options);

int MatchChain(Client& client, const ChainArguments& chain, bool is_json);

}  // namespace banyan::ctl
