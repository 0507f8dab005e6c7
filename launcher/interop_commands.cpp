// From and to Hugging Face.
#include <fmt/format.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "launcher/config_schema.h"
#include "launcher/exit_codes.h"
#include "launcher/program.h"
#include "launcher/saved_run.h"
#include "training/errors.h"
#include "training/file_system.h"
#include "training/hugging_face.h"
#include "training/tokenizer.h"

namespace reprise {
namespace {

namespace fs = std::filesystem;

struct Ends {
  std::string from, to;
};

void require_new(const std::string& target) {
  if (!fs::exists(fs::symlink_status(target))) return;
  throw UsageError(fmt::format("--to: expected a folder that does not exist yet, got {}", target));
}

// Fills a folder of another name, which becomes `target` once it is whole.
void write_folder(const std::string& target, const std::function<void(const fs::path&)>& fill) {
  fs::path path = fs::absolute(target).lexically_normal();
  if (!path.has_filename()) path = path.parent_path();
  const std::string staged = fmt::format("{}.tmp.{}", path.string(), ::getpid());
  fs::remove_all(staged);
  fs::create_directories(staged);
  try {
    fill(staged);
    Disk().rename(staged, path.string());
  } catch (...) {
    std::error_code ignored;
    fs::remove_all(staged, ignored);
    throw;
  }
  Disk().sync_folder(path.parent_path().string());
}

// The tokenizer beside a model's files; "none" with the reason, when there is one, that it is not taken over.
std::pair<std::string, std::string> tokenizer_beside(const std::string& model) {
  const fs::path folder = fs::is_directory(model) ? fs::path(model) : fs::path(model).parent_path();
  const std::string path = (folder / "tokenizer.json").string();
  if (!fs::exists(path)) return {"none", ""};
  try {
    Tokenizer{path};
    return {path, ""};
  } catch (const DataError& error) {
    return {"none", error.what()};
  }
}

void print_summary(const std::string& folder, const ModelConfig& model, const std::string& tokenizer) {
  fmt::print("{}: {}, {} layers, width {}, {} heads, context {}, vocabulary {}, tokenizer {}\n", folder,
             name_of(model.family), model.layers, model.width, model.heads, model.context, model.vocabulary, tokenizer);
}

int import_model(const Ends& ends) {
  const HuggingFaceModel model = read_hugging_face(ends.from);
  const auto [tokenizer, refusal] = tokenizer_beside(ends.from);
  std::string name;
  write_folder(ends.to, [&](const fs::path& folder) {
    Config config;
    config.model = model.config;
    std::string yaml = "model:\n";
    for (const Setting& setting : config_schema()) {
      if (!setting.key.starts_with("model.")) continue;
      yaml += fmt::format("  {}: {}\n", setting.key.substr(6), setting.write(config));
    }
    name = copy_tokenizer(tokenizer, folder.string());
    write_safetensors((folder / "model.safetensors").string(), model.parameters,
                      {{"format", "pt"}, {"tokenizer", name}});
    write_durably((folder / "config.yaml").string(), yaml);
    load_config((folder / "config.yaml").string(), {}, /*with_data=*/false);  // throws where a setting has a limit
  });
  print_summary(ends.to, model.config, name);
  if (!refusal.empty()) fmt::print(stderr, "the tokenizer stays behind: {}\n", refusal);
  return kDone;
}

int export_model(const Ends& ends) {
  const SavedRun run = load_run(ends.from);
  std::optional<int64_t> end;
  if (run.tokenizer != "none") end = Tokenizer(run.tokenizer).end();
  const std::string config = hugging_face_config(run.config.model, end);
  std::string name;
  write_folder(ends.to, [&](const fs::path& folder) {
    name = copy_tokenizer(run.tokenizer, folder.string());
    write_safetensors((folder / "model.safetensors").string(), hugging_face_tensors(*run.model), {{"format", "pt"}});
    write_durably((folder / "config.json").string(), config);
  });
  print_summary(ends.to, run.config.model, name);
  return kDone;
}

Command add(CLI::App& app, const char* name, const char* meaning, const char* from, const char* from_meaning,
            const char* example, int (*work)(const Ends&)) {
  CLI::App* command = app.add_subcommand(name, meaning);
  const auto ends = std::make_shared<Ends>();
  command->add_option(from, ends->from, from_meaning)->required();
  command->add_option("--to", ends->to, "Folder to make; must not exist")->required();
  command->footer(fmt::format("Example:\n  {}", example));
  return {command, [=] {
            require_new(ends->to);
            return work(*ends);
          }};
}

}  // namespace

Command add_import(CLI::App& app) {
  return add(app, "import", "Take over a GPT-2 or Llama in Hugging Face's form, for train, eval and sample", "MODEL",
             "Folder with config.json and safetensors; or a *.safetensors or *.index.json in it",
             "reprise import models/gpt2 --to models/gpt2-reprise", import_model);
}

Command add_export(CLI::App& app) {
  return add(app, "export", "Write a trained model in Hugging Face's form, for transformers", "RUN",
             "Run directory, snapshot or imported folder", "reprise export runs/quickstart --to models/quickstart",
             export_model);
}

}  // namespace reprise
