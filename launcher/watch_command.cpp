#include <fmt/format.h>
#include <langinfo.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <chrono>
#include <clocale>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <system_error>
#include <thread>

#include "launcher/exit_codes.h"
#include "launcher/host_facts.h"
#include "launcher/program.h"
#include "launcher/run_directory.h"
#include "launcher/run_page.h"
#include "monitoring/format.h"
#include "training/run_lock.h"

namespace reprise {
namespace {

struct Options {
  std::string directory;
  bool once = false, ascii = false;
};

TextStyle style_of(const Options& options, bool is_terminal) {
  TextStyle style{.width = 80, .height = 60};
  std::setlocale(LC_CTYPE, "");
  style.is_ascii = options.ascii || std::string_view(nl_langinfo(CODESET)) != "UTF-8";
  style.is_coloured = is_terminal && std::getenv("NO_COLOR") == nullptr;
  winsize size{};
  if (!is_terminal || ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) != 0 || size.ws_col < 20) return style;
  style.width = size.ws_col - 1;  // a character in the last column would make some terminals wrap
  if (!options.once) style.height = size.ws_row - 1;
  return style;
}

// Of a process of this host the system tells whether it lives; of another host's only what it says.
std::string state_of(const RunHistory& history, const std::string& directory) {
  if (history.end) return fmt::format("ended after {}", format_seconds(history.end->seconds));
  const auto age =
      std::filesystem::file_time_type::clock::now() - std::filesystem::last_write_time(directory + "/metrics.jsonl");
  const double seconds = std::max(0.0, std::chrono::duration<double>(age).count());
  const std::string news = fmt::format("last news {} ago", format_seconds(std::floor(seconds)));
  const std::optional<LockOwner> owner = read_lock_owner(directory + "/lock");
  if (!owner) return news;
  if (owner->pid == 0) return "not running, " + news;
  const bool is_here = owner->host == read_host_facts().host;
  const bool is_gone = is_here && kill(static_cast<pid_t>(owner->pid), 0) != 0 && errno == ESRCH;
  return is_gone ? fmt::format("{} is gone, {}", owner->text(), news) : news;
}

int watch(const Options& options) {
  const bool is_terminal = isatty(STDOUT_FILENO) == 1, follows = is_terminal && !options.once;
  JsonLinesReader reader = open_metrics(options.directory);
  std::string drawn;
  if (follows) fmt::print("\x1b[2J");
  while (true) {
    try {
      reader.read();
      const RunHistory& history = reader.history();
      const std::string state = state_of(history, options.directory);
      const std::string page = run_page(history, state, style_of(options, is_terminal));
      if (!follows) return fmt::print("{}", page), kDone;
      std::string screen = "\x1b[H";  // over the page before, line by line, so that nothing flickers
      for (const char c : page) screen += c == '\n' ? "\x1b[K\n" : std::string(1, c);
      if (screen != drawn) fmt::print("{}\x1b[J", screen);
      drawn = screen;
      std::fflush(stdout);
      if (history.end) return kDone;
    } catch (const std::system_error& error) {  // a run that begins anew takes its file away for a while
      if (!follows || error.code() != std::errc::no_such_file_or_directory) throw;
    }
    std::this_thread::sleep_for(std::chrono::milliseconds(500));
  }
}

}  // namespace

Command add_watch(CLI::App& app) {
  CLI::App* command = app.add_subcommand("watch", "A run in the terminal: progress, loss, memory, phases, ranks");
  const auto options = std::make_shared<Options>();
  command->add_option("RUN", options->directory, "Run directory, of a run that is under way or over")->required();
  command->add_flag("--once", options->once, "One page and done; so, too, when stdout is no terminal");
  command->add_flag("--ascii", options->ascii, "No other characters; so, too, unless the locale is UTF-8");
  command->footer(
      "Follows metrics.jsonl until the run's end or Ctrl-C, wherever the folder can be read.\n\n"
      "Example:\n  reprise watch runs/quickstart\n  reprise watch runs/quickstart --once --ascii | mail me");
  return {command, [options] { return watch(*options); }};
}

}  // namespace reprise
