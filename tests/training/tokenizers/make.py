#!/usr/bin/env python3
"""Makes the tokenizers and the expected tokens beside it; needs the Python package `tokenizers`.

gpt2.json and llama3.json are small ones with the words of those models, cases.json is what the package makes of texts.
"""

import json
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
SOURCE = HERE.parents[2]
sys.path[:0] = [str(SOURCE / "scripts"), str(SOURCE / "tests" / "program")]
import train_bpe  # noqa: E402
from mixed_text import CODE, CONTRACTIONS, fuzz, mixed_text  # noqa: E402
from tokenizers import AddedToken, Tokenizer  # noqa: E402

ADDED = [AddedToken("<|x|>", special=True), AddedToken("<|x|>y", special=True), AddedToken("|><", normalized=True),
         AddedToken("  two spaces", normalized=True), AddedToken("é+", normalized=False)]
TEXTS = ["", "a", "Hello, world!", "a<|endoftext|>b <|end_of_text|> c", "<|x|><|x|>y<|x|>yy<|x|> ><|><|x|",
         "  two spaces", "x  two spacesy", "é+é +", "a\r\n\r\n  b\n\n\n", "   ", " " * 40 + "x", "l" * 300,
         "12345678", "I'M we'LL it'ſ", "x  \u180ey",
         mixed_text(1200, 11), fuzz(700, 12)]


def corpus():
    return [*CODE * 3, *CONTRACTIONS * 5, mixed_text(30000, 10)]


def main():
    cases = {}
    for style, vocabulary in (("gpt2", 600), ("llama3", 700)):
        tokenizer = train_bpe.train(corpus(), vocabulary, style)
        tokenizer.add_tokens(ADDED)
        path = HERE / f"{style}.json"
        tokenizer.save(str(path), pretty=False)
        if style == "gpt2":  # merges as older files have them, "a b"
            file = json.loads(path.read_text(encoding="utf-8"))
            file["model"]["merges"] = [" ".join(pair) for pair in file["model"]["merges"]]
            path.write_text(json.dumps(file, ensure_ascii=False), encoding="utf-8")
        tokenizer = Tokenizer.from_file(str(path))
        cases[style] = [[text, tokenizer.encode(text, add_special_tokens=False).ids] for text in TEXTS]
        spaced = json.loads(path.read_text(encoding="utf-8"))
        if style == "gpt2":
            spaced["pre_tokenizer"]["add_prefix_space"] = True
            spaced = Tokenizer.from_str(json.dumps(spaced))
            cases["gpt2 with prefix space"] = [[t, spaced.encode(t, add_special_tokens=False).ids] for t in TEXTS]
    (HERE / "cases.json").write_text(json.dumps(cases, separators=(",", ":")) + "\n")


if __name__ == "__main__":
    main()
