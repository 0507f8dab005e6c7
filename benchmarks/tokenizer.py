#!/usr/bin/env python3
"""How fast text becomes tokens on one core: `reprise data prepare --threads 1` against the Python package `tokenizers`
with one thread, with the same tokenizer.json and the same documents. Needs that package.

    benchmarks/tokenizer.py [--vocabulary 32000] [--megabytes 40] [--rounds 5] [FILE...]

FILE: text; without any, the sources of Python's standard library and as much text of many scripts
(tests/program/mixed_text.py). Times are processor times of the process, since other work may share the machine: of
Reprise all that `data prepare` does (reading twice, JSON, writing) less what it takes for a few bytes (starting,
loading the tokenizer), of the package encode_batch_fast alone. Tokens are counted and compared, too.
"""

import argparse
import array
import json
import os
import resource
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path

os.environ["TOKENIZERS_PARALLELISM"] = "false"
SOURCE = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(SOURCE / "tests" / "program"), str(SOURCE / "scripts")]
import train_bpe  # noqa: E402
from harness import ENVIRONMENT, REPRISE  # noqa: E402
from mixed_text import mixed_text  # noqa: E402


def documents_of(files, megabytes):
    """{kind: [text, …]}, so many megabytes of each."""
    if files:
        kinds = {"files": (Path(file).read_text(encoding="utf-8", errors="replace") for file in files)}
    else:
        library = sorted(Path(sysconfig.get_path("stdlib")).rglob("*.py"))
        kinds = {"Python sources": (path.read_text(encoding="utf-8", errors="replace") for path in library),
                 "many scripts": (mixed_text(20_000, seed) for seed in range(10**6))}
    for kind, texts in kinds.items():
        chosen, size = [], 0
        for text in texts:
            if text and size < megabytes * 1e6:
                chosen.append(text)
                size += len(text.encode())
            elif size >= megabytes * 1e6:
                break
        yield kind, chosen


def time_reprise(corpus, tokenizer, out):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([REPRISE, "data", "prepare", "--threads", "1", "--tokenizer", tokenizer, "--out", out, corpus],
                   env=ENVIRONMENT, check=True, capture_output=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def time_package(reference, texts):
    before = time.process_time()
    encodings = reference.encode_batch_fast(texts, add_special_tokens=False)
    return time.process_time() - before, sum(len(encoding.ids) for encoding in encodings)


def measure(kind, texts, style, options, folder):
    tokenizer, corpus, out = folder / "tokenizer.json", folder / "corpus.jsonl", folder / "out"
    train_bpe.train(texts[::10], options.vocabulary, style).save(str(tokenizer))
    with open(corpus, "w", encoding="utf-8") as lines:
        lines.writelines(json.dumps({"text": text}, ensure_ascii=False) + "\n" for text in texts)
    from tokenizers import Tokenizer
    reference = Tokenizer.from_file(str(tokenizer))
    megabytes = sum(len(text.encode()) for text in texts) / 1e6
    tiny = folder / "tiny.jsonl"
    tiny.write_text(json.dumps({"text": "x" * 100}))
    ours, theirs = [], []
    for _ in range(options.rounds):
        ours.append(megabytes / (time_reprise(corpus, tokenizer, out) - time_reprise(tiny, tokenizer, folder / "tiny")))
        seconds, count = time_package(reference, texts)
        theirs.append(megabytes / seconds)
    tokens = sum(len(array.array("H", path.read_bytes()[1024:])) for path in out.glob("*_*.bin")) - len(texts)
    if tokens != count:
        sys.exit(f"{kind}, {style}: {tokens} tokens, the package has {count}")
    rates = "   ".join(f"{name} {statistics.median(some):6.2f} MB/s ({min(some):.2f} … {max(some):.2f})"
                       for name, some in (("reprise", ours), ("tokenizers", theirs)))
    print(f"{kind:16} {style:8} {megabytes:6.1f} MB {len(texts):6} documents   {rates}", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", metavar="FILE")
    parser.add_argument("--vocabulary", type=int, default=32000)
    parser.add_argument("--megabytes", type=int, default=40, help="of each kind of text, at most")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for kind, texts in documents_of(options.files, options.megabytes):
        for style in ("gpt2", "llama3"):
            with tempfile.TemporaryDirectory() as folder:
                measure(kind, texts, style, options, Path(folder))


if __name__ == "__main__":
    main()
