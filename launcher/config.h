#pragma once

#include <cstdint>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "checkpointing/policies.h"
#include "model/model_config.h"
#include "training/trainer.h"

namespace reprise {

// The configuration cannot be used; the user can mend it. One line: "file:line key: expected …, got …; did you mean
// …?". Exit code 78.
struct ConfigError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

struct RunSetting {
  std::string name;       // the configuration file's name unless given
  std::string directory;  // runs/<name> unless given
  uint64_t seed = 1;
  int64_t steps = 100;
  double max_seconds = 0;       // 0: no limit
  std::string device = "auto";  // auto cpu cuda
  bool overwrite = false;
  std::string init = "none";  // or a run, a snapshot, a folder made by `reprise import`
};

struct SnapshotRule {
  int64_t every_steps = 0;  // 0: none
  int64_t keep = 2, keep_every = 0;
  std::string resume = "auto";  // auto never PATH
};

// The values of the policies that need a cost table. Budgets: bytes, or a share of this host's memory.
struct BudgetSetting {
  std::string budget = "90%";    // policy budget
  std::string knapsack = "90%";  // policy knapsack
  int64_t greedy_bytes = 0;      // policy greedy: bytes to save
};

inline constexpr const char* kCommandLine = "command line";                  // where a value is from
inline constexpr int kMostLayers = 4096, kMostStages = 2 * kMostLayers + 2;  // two a layer, embedding and head

inline constexpr int64_t kAuto = 0;  // of a number that is chosen before the first step

struct DistributedSetting {
  std::string backend = "auto";  // auto mpi nccl
  bool share_device = false;
  int64_t bucket_bytes = kAuto, first_bucket_bytes = kAuto;
  bool overlap = true;
  double deadline_seconds = 30;
  int64_t compare_every = 100;  // steps; 0: never
};

struct PrecisionSetting {
  std::string compute = "fp32";           // fp32 tf32 bf16 fp16
  torch::Dtype reduce = torch::kFloat32;  // or bf16
  bool scales_loss = false;               // key precision.loss_scaling
};

struct MonitoringSetting {
  int64_t every_steps = 10;
  int64_t evaluate_every = 0;    // 0: at the end only
  int64_t evaluate_windows = 0;  // at most so many windows an evaluation; 0: all
  bool trace = false;
  bool prometheus_enabled = true;
  std::string prometheus_listen = "127.0.0.1:0";
};

// A run's configuration. The members' initial values are the defaults of the keys.
struct Config {
  RunSetting run;
  ModelConfig model;  // resolved
  std::string data_directory;
  std::string tokenizer = "bytes";                    // of the data, as Tokenizer wants it
  int64_t global_sequences = 8, micro_sequences = 4;  // micro_sequences: or kAuto
  OptimizerSetting optimizer;
  SkipSetting skips;
  PolicySetting checkpointing;
  BudgetSetting budget;
  int64_t verify_every = 0;  // key checkpointing.verify: steps; 0: never
  DistributedSetting distributed;
  PrecisionSetting precision;
  MonitoringSetting monitoring;
  SnapshotRule snapshot;

  std::string source;  // the file
  // Of every key, and of the sections that the file has: "default", "quickstart.yaml:7", "command line", "from the
  // data", "derived".
  std::map<std::string, std::string> origins;

  torch::Dtype compute_type() const;  // of activations; tf32 computes on fp32
  TrainerSetting trainer() const;
};

// Reads file and overrides ("key.sub=value", the last one counts), checks every value, derives the derived. Throws
// ConfigError. Only `with_data` asks for data.directory and reads dataset.json in there (for tokenizer and vocabulary);
// a damaged one is a DataError. No other file is touched. And only it refuses a policy's value without a policy.
Config load_config(const std::string& path, const std::vector<std::string>& overrides, bool with_data = true);

// What load_config() does once the values are read: derives what nobody gave and checks everything. Throws ConfigError.
void complete(Config& config, bool with_data);

// Puts the values of a file, or of one "key.sub=value", into `config`, and where they came from. Nothing is derived,
// and only what a value alone shows is checked. Throw ConfigError.
void read_config_file(Config& config, const std::string& path);
void read_override(Config& config, const std::string& text);

// Resolved; loads to the same Config. With origins every line ends in a comment that says where its value is from.
std::string to_yaml(const Config& config, bool with_origins);

// Puts the place of the key (or of its section) before the message, for settings found wrong after loading.
ConfigError at_setting(const Config& config, const InvalidSetting& error);

// What must be equal on all ranks, by key: everything but paths and addresses, which may differ from host to host.
std::map<std::string, std::string> agreement_fields(const Config& config);

// Every key with its default, what is legal and what it means; one a line.
std::string settings_help();

}  // namespace reprise
