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

// Opens an opaque namespace of this name and model.
int NamespaceCreate(Client& client, const std::string& name,
                    const std::string& model, const std::string& revision);

// Stores the file ("-": standard input) as the last block of the chain.
int PutFile(Client& client, const ChainArguments& chain,
            const std::string& path, Durability durability);

// Writes the last block of the chain to the file ("-": standard output).
int GetFile(Client& client, const ChainArguments& chain,
            const std::string& path);

int MatchChain(Client& client, const ChainArguments& chain, bool is_json);

}  // namespace banyan::ctl
