#include "benchmarks/report.h"

#include <ATen/Parallel.h>
#include <fmt/format.h>
#include <fmt/ranges.h>

#include <filesystem>

#include "launcher/build_facts.h"
#include "launcher/host_facts.h"
#include "monitoring/format.h"
#include "training/file_system.h"

namespace reprise::bench {
namespace {

std::string replaced(std::string text, const std::string& from, const std::string& to) {
  for (size_t at = text.find(from); at != std::string::npos; at = text.find(from, at + to.size())) {
    text.replace(at, from.size(), to);
  }
  return text;
}

std::string escaped(const std::string& text) {
  return replaced(replaced(replaced(text, "&", "&amp;"), "<", "&lt;"), ">", "&gt;");
}

// Several figures in one page must not share the names of their patterns and marks.
std::string inline_svg(const Chapter& chapter) {
  std::string svg = draw(chapter.finding.figure);
  for (const char* kind : {"hatch", "mark"}) {
    const std::string own = fmt::format("{}-{}", chapter.experiment.name, kind);
    svg = replaced(svg, fmt::format("id=\"{}", kind), "id=\"" + own);
    svg = replaced(svg, fmt::format("url(#{}", kind), "url(#" + own);
  }
  return svg;
}

std::string html_table(const Table& table) {
  const auto row = [](const std::vector<std::string>& cells, const char* tag) {
    std::string html = "<tr>";
    for (const std::string& cell : cells) html += fmt::format("<{0}>{1}</{0}>", tag, escaped(cell));
    return html + "</tr>\n";
  };
  std::string html = fmt::format("<table><caption>{}</caption>\n{}", escaped(table.title), row(table.head, "th"));
  for (const auto& cells : table.rows) html += row(cells, "td");
  return html + "</table>\n";
}

std::string markdown_table(const Table& table) {
  std::string rule = "|---|";
  for (size_t i = 1; i < table.head.size(); ++i) rule += "---:|";
  std::string text = fmt::format("{}:\n\n| {} |\n{}\n", table.title, fmt::join(table.head, " | "), rule);
  for (const auto& cells : table.rows) text += fmt::format("| {} |\n", fmt::join(cells, " | "));
  return text + "\n";
}

std::string machine_text() {
  const Json known = machine_facts();
  std::vector<std::string> facts;
  for (const auto& [name, value] : known.items()) facts.push_back(fmt::format("{} {}", name, value.get<std::string>()));
  return fmt::format("{}", fmt::join(facts, "; "));
}

constexpr const char* kStyle = R"(body {font: 16px/1.5 sans-serif; max-width: 62em; margin: 2em auto; padding: 0 1em}
table {border-collapse: collapse; margin: 1em 0; font-size: 14px} caption {text-align: left; font-weight: bold}
th, td {padding: 2px 10px; text-align: right; border-bottom: 1px solid #ddd}
th:first-child, td:first-child {text-align: left}
svg {max-width: 100%; height: auto} dt {font-weight: bold})";

std::string html_page(const std::vector<Chapter>& chapters, const std::string& command) {
  std::string contents, body;
  for (const auto& [experiment, finding] : chapters) {
    contents += fmt::format("<li><a href=\"#{}\">{}</a></li>\n", experiment.name, escaped(experiment.title));
    body += fmt::format("<h2 id=\"{}\">{}</h2>\n<p>{}</p>\n", experiment.name, escaped(experiment.title),
                        escaped(experiment.question));
    body += fmt::format("<dl><dt>What people know</dt><dd>{}</dd><dt>What was measured here</dt><dd>{}</dd></dl>\n",
                        escaped(finding.claim), escaped(finding.measured));
    body += inline_svg({experiment, finding});
    for (const Table& table : finding.tables) body += html_table(table);
    for (const std::string& note : finding.notes) body += fmt::format("<p><small>{}</small></p>\n", escaped(note));
  }
  return fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>Reprise: the experiments</title>\n"
      "<style>{}</style></head>\n<body><h1>The experiments on activation checkpointing</h1>\n<p>Made by <code>{}</code>"
      "</p>\n<p>Machine: {}.</p>\n<ul>\n{}</ul>\n{}</body></html>\n",
      kStyle, escaped(command), escaped(machine_text()), contents, body);
}

std::string markdown_page(const std::vector<Chapter>& chapters, const std::string& command) {
  std::string page = fmt::format(
      "# The experiments\n\nThe known experiments on activation checkpointing, run through this program's own parts. "
      "Made by\n\n"
      "    {}\n\nwhich also writes one page with all of this, `index.html`. Machine: {}.\n\n"
      "Each is one command, `reprise bench NAME [--out DIR] [key.sub=value ...]`; `--scale gpu` has the original sizes "
      "and "
      "wants a GPU.\n\n",
      command, machine_text());
  for (const auto& [experiment, finding] : chapters) {
    page += fmt::format(
        "## {}\n\n`reprise bench {}`. {}\n\n**What people know:** {}.\n\n**What was measured here:** {}.\n\n",
        experiment.title, experiment.name, experiment.question, finding.claim, finding.measured);
    page += fmt::format("![{}](experiments/{}.svg)\n\n", finding.figure.title, experiment.name);
    for (const Table& table : finding.tables) page += markdown_table(table);
    for (const std::string& note : finding.notes) page += fmt::format("- {}\n", note);
    page += "\n";
  }
  return page;
}

}  // namespace

Json machine_facts() {
  const HostFacts host = read_host_facts();
  return {{"processor", host.processor},
          {"cores", std::to_string(host.usable_cores)},
          {"threads", std::to_string(at::get_num_threads())},
          {"memory", format_bytes(host.memory_bytes)},
          {"reprise", fmt::format("{} ({})", kVersion, kBuildType)},
          {"LibTorch", kLibTorch}};
}

void write_report(const std::string& directory, const std::vector<Chapter>& chapters, const std::string& command) {
  std::filesystem::create_directories(directory + "/experiments");
  for (const Chapter& chapter : chapters) {
    write_durably(fmt::format("{}/experiments/{}.svg", directory, chapter.experiment.name),
                  draw(chapter.finding.figure));
  }
  write_durably(directory + "/index.html", html_page(chapters, command));
  write_durably(directory + "/experiments.md", markdown_page(chapters, command));
}

}  // namespace reprise::bench
