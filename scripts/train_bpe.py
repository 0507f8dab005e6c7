#!/usr/bin/env python3
"""Trains a byte-level BPE on text files and writes a tokenizer.json for `reprise data prepare --tokenizer`.

    scripts/train_bpe.py --vocabulary 8192 --out tokenizer.json book.txt notes.jsonl

Needs the Python package `tokenizers`; running Reprise does not. Of *.jsonl it takes the string under --field.
"""

import argparse
import json
import sys
from pathlib import Path

LLAMA3 = (r"""(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"""
          r"""|\s*[\r\n]+|\s+(?!\S)|\s+""")
END_OF_DOCUMENT = {"gpt2": "<|endoftext|>", "llama3": "<|end_of_text|>"}


def texts(files, field):
    for file in files:
        with open(file, encoding="utf-8", errors="replace") as lines:
            if file.suffix == ".jsonl":
                yield from (json.loads(line)[field] for line in lines if line.strip())
            else:
                yield from lines  # no word of either pattern goes on after the first letter of a line


def train(documents, vocabulary, style):
    """A tokenizers.Tokenizer of `vocabulary` tokens in all, with the words of gpt2 or llama3."""
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
    tokenizer = Tokenizer(models.BPE(ignore_merges=style == "llama3"))
    if style == "gpt2":
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    else:
        tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
            pre_tokenizers.Split(Regex(LLAMA3), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocabulary, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  special_tokens=[END_OF_DOCUMENT[style]], show_progress=False)
    tokenizer.train_from_iterator(documents, trainer)
    return tokenizer


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="text, or *.jsonl with a document a line")
    parser.add_argument("--out", type=Path, required=True, help="the tokenizer.json to write")
    parser.add_argument("--vocabulary", type=int, default=8192, help="tokens, 257 or more (default: %(default)s)")
    parser.add_argument("--style", choices=sorted(END_OF_DOCUMENT), default="gpt2",
                        help="how text is cut into words (default: %(default)s)")
    parser.add_argument("--field", default="text", help="of a JSON line (default: %(default)s)")
    options = parser.parse_args()
    if options.vocabulary < 257:
        parser.error("--vocabulary: expected 257 or more: every byte and the end of a document are tokens")
    try:
        tokenizer = train(texts(options.files, options.field), options.vocabulary, options.style)
    except ImportError:
        sys.exit("train_bpe: the Python package `tokenizers` is missing: python3 -m venv bpe && "
                 "bpe/bin/pip install tokenizers, then run this script with bpe/bin/python")
    tokenizer.save(str(options.out), pretty=False)
    print(f"{options.out}: {tokenizer.get_vocab_size()} tokens; use it with: "
          f"reprise data prepare --tokenizer {options.out} --out DIRECTORY FILE...")


if __name__ == "__main__":
    main()
