"""The readable page of scripts/gpu_check.py's report, in Markdown."""


def broken(report):
    return [name for name, row in report["rows"].items() if "failed" in row or row.get("equal") is False]


def table(head, rows):
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(str(cell) for cell in line) + " |" for line in lines] + [""]


def verdict(row):
    if "not_tried" in row:
        return f"not tried: {row['not_tried']}"
    if "failed" in row:
        return f"**failed**: {row['failed']}"
    return "yes" if row.get("equal", True) else "**no**"


def mib(count):
    return f"{count / 2**20:,.0f} MiB" if count else "–"


def percent(share):
    return f"{100 * share:.1f} %" if share is not None else "–"


def head(report):
    doctor = report["doctor"]
    device, nccl = (doctor.get("devices") or [{}])[0], doctor.get("nccl", {})
    facts = [("memory", mib(device.get("memory_bytes"))),
             ("program", "{version}, commit {commit}, {compiler}".format(**doctor["reprise"])),
             ("LibTorch", doctor["libtorch"]["version"]),
             ("NCCL", nccl.get("version") or "none"), ("MPI", doctor["mpi"]["library"]),
             ("host", "{processor}, {usable_cores} usable cores".format(**doctor["host"])),
             ("took", f"{report['seconds']} s")]
    failures = broken(report)
    said = f"**Failed: {', '.join(failures)}.**" if failures else "Every check that was tried holds."
    if report["rehearsal"]:
        said += " A rehearsal: tiny models stand for all others, and no number here says anything about speed."
    return [f"# {report['device']}", "", said, "", *table(["what", "value"], facts)]


def correctness(rows):
    lines = []
    for name, row in rows.items():
        if name == "tests":
            what = "; ".join(f"{test}: {end}" for test, end in row.get("tests", {}).items())
            lines.append(("tests that need a GPU", what, verdict(row)))
        elif name.startswith("policies"):
            hashes = list(row.get("weights_xxh3", {}).values())
            what = f"{len(hashes)} plans, {len(set(hashes))} set(s) of weights" if hashes else ""
            lines.append((name, what, verdict(row)))
        elif name.startswith("two ranks"):
            difference = row.get("largest_loss_difference")
            what = f"the losses of one rank, to {difference:.1e}" if difference is not None else ""
            lines.append((name, what, verdict(row)))
    return ["## Correctness", "", *table(["check", "what", "holds"], lines)]


def speeds(rows):
    found = {name: row for name, row in rows.items() if name.startswith("gpt2") and not name.endswith("PyTorch")}
    lines = [(name, f"{row['tokens_per_second']:,.0f}", percent(row.get("mfu")), f"{1e3 * row['step_seconds']:.1f}",
              percent(row["idle_share"]), mib(row["planned_peak_bytes"]), mib(row["peak_bytes"]),
              f"{row['peak_miss_percent']:+.2f} %" if "peak_miss_percent" in row else "–")
             if "step_seconds" in row else (name, verdict(row), *["–"] * 6) for name, row in found.items()]
    return ["## Speed and memory", "", "MFU counts no recomputation and is of the device's dense peak. Idle: the share "
            "of a step that is neither forward, recomputation, backward nor optimizer; gaps inside those are not seen.",
            "",
            *table(["run", "tokens/s", "MFU", "step, ms", "idle", "peak predicted", "peak measured", "miss"], lines)]


def contender(name, row):
    if "step_seconds" not in row:
        return (name, verdict(row), *["–"] * 7)
    seconds, ratio = row["step_seconds"], row["step_seconds_over_ours"]
    return (name, f"{row['tokens_per_second']:,.0f}", percent(row.get("mfu")), f"{1e3 * seconds['median']:.1f}",
            f"{ratio['median']:.3f} ({ratio['least']:.3f} … {ratio['most']:.3f})", percent(row.get("idle_share")),
            mib(row.get("planned_peak_bytes")), mib(row.get("peak_bytes")), f"{row['largest_loss_difference']:.1e}")


def comparison(row):
    lines = ["## gpt2_124m beside PyTorch", ""]
    if "contenders" not in row:
        return lines + [verdict(row), ""]
    half = row["contenders"]["ours at half the activation bytes"]
    return [*lines, f"Compute in {row['precision']}, {half['step_seconds']['rounds']} rounds in turn, the same weights "
            f"and tokens. PyTorch: {row['torch']}; fp32 parameters and gradients, under autocast where compute is "
            "narrow, SDPA, fused AdamW, clipping.", "",
            *table(["program", "tokens/s", "MFU", "step, ms", "step over ours (spread)", "idle", "peak predicted",
                    "peak measured", "largest difference of loss"],
                   [contender(name, each) for name, each in row["contenders"].items()]),
            f"Recomputation at {percent(half['activation_share'])} of the activation bytes costs "
            f"{half['recomputation_overhead_percent']:.1f} % of a step.", ""]


def page(report):
    rows = report["rows"]
    lines = [*head(report), *correctness(rows), *speeds(rows), *comparison(rows["gpt2_124m beside PyTorch"])]
    return "\n".join(lines).rstrip() + "\n"
