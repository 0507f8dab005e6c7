"""Text of many scripts, for tokenizers: words, numbers, code, emoji, combining marks, white space, contractions, and
random characters of all of Unicode 14. A function of its seed; no two places of it alike."""

import random

SCRIPTS = {  # first and last letter, mean length of a word, what stands between words
    "Latin": (0x61, 0x7a, 5, " "), "Latin-1": (0xdf, 0xff, 6, " "), "Greek": (0x3b1, 0x3c9, 6, " "),
    "Cyrillic": (0x430, 0x44f, 6, " "), "Armenian": (0x561, 0x586, 6, " "), "Hebrew": (0x5d0, 0x5ea, 4, " "),
    "Arabic": (0x627, 0x64a, 4, " "), "Devanagari": (0x904, 0x939, 4, " "), "Bengali": (0x985, 0x9b9, 4, " "),
    "Tamil": (0xb85, 0xbb9, 5, " "), "Thai": (0xe01, 0xe2e, 20, ""), "Georgian": (0x10d0, 0x10f0, 6, " "),
    "Hangul": (0xac00, 0xd7a3, 3, " "), "Hiragana": (0x3041, 0x3096, 12, "、"), "Han": (0x4e00, 0x9fa5, 12, "，"),
    "Gothic": (0x10330, 0x1034a, 5, " ")}
CODE = ["def f(x):\n    return x**2  # squared\n", "for (int i = 0; i < n; ++i) {\n\t\ta[i] += b[i];\n}\n",
        "<div class=\"row\">&nbsp;</div>\r\n", "{\"key\": [1, 2.5e-3, null]}\n", "#include <vector>\n\n\n",
        "SELECT * FROM t WHERE a_b='x';\n", "https://example.org/a?b=c&d=%20#e\n", "\\frac{1}{2}\\alpha_{i,j}^2\n"]
CONTRACTIONS = ["it's", "I'm", "we'll", "they've", "he'd", "you're", "don't", "IT'S", "WE'LL", "'s", "''", "'",
                "o'clock", "it’s", "it'ſ"]
SPACES = [" ", "  ", "   ", "\n", "\n\n", "\t", "\r\n", " \n ", "\u00a0", "\u3000", "\u2003", "\u180e", "\u200b",
          "\x85", "\x0b", "      \t\n   ", "\u2028"]
EMOJI = ["😀", "👍🏽", "👩‍👩‍👧‍👦", "🇺🇳", "❤️", "1️⃣", "🏴󠁧󠁢󠁳󠁣󠁴󠁿", "☃", "🤷🏾‍♀️"]
MARKS = ["e\u0301", "n\u0303", "a\u0308\u0323", "क्षि", "ก็", "Z̸͚̈́", "\u0301", "ﬁ", "ß", "İ", "Ǆ"]
NUMBERS = ["0", "12", "1999", "3.14159", "1,000,000", "२०२४", "٣٤", "½", "Ⅷ", "²", "0x1F", "1e10", "一二三", "12345678901"]
# Blocks where everything is assigned in Unicode 14 and later, or nothing ever will be a letter.
BLOCKS = [(0x20, 0x24f), (0x300, 0x36f), (0x400, 0x4ff), (0x2000, 0x2063), (0x2190, 0x23ff), (0x2500, 0x27bf),
          (0x3041, 0x3096), (0x4e00, 0x9fff), (0xac00, 0xd7a3), (0xe000, 0xe0ff), (0x1d400, 0x1d454),
          (0x1f300, 0x1f5ff), (0x20000, 0x2a6df), (0x0, 0x1f), (0x7f, 0xa0)]


def word(generator, script):
    first, last, mean, _ = SCRIPTS[script]
    length = max(1, int(generator.expovariate(1 / mean)))
    # Few letters are frequent, as in a language, so that words come again.
    return "".join(chr(first + int((last - first + 1) * generator.random() ** 3)) for _ in range(length))


def sentence(generator, lexicon):
    script = generator.choice(list(SCRIPTS))
    words = generator.choices(lexicon[script], k=generator.randint(3, 20))
    words = [w.capitalize() if generator.random() < 0.1 else w for w in words]
    return SCRIPTS[script][3].join(words) + generator.choice([". ", "! ", "?\n", "。", "…\n\n", ", ", "; "])


def odd(generator):
    kind = generator.randrange(8)
    if kind == 0:
        return "".join(chr(generator.randint(*generator.choice(BLOCKS))) for _ in range(generator.randint(1, 12)))
    return generator.choice([CODE, CONTRACTIONS, SPACES, EMOJI, MARKS, NUMBERS, SPACES][kind - 1])


def mixed_text(characters, seed=0):
    generator = random.Random(seed)
    lexicon = {script: [word(generator, script) for _ in range(400)] for script in SCRIPTS}
    parts, count = [], 0
    while count < characters:
        part = odd(generator) if generator.random() < 0.6 else sentence(generator, lexicon)
        parts.append(part)
        count += len(part)
    return "".join(parts)[:characters]


def fuzz(characters, seed=0):
    """Characters one by one: runs of classes as no language has them."""
    generator = random.Random(seed)
    pools = ["aZéж中ſ", "019٣Ⅷ", " \t\n\r\u00a0\u3000\u180e", "'’.!-_/", "\u0301\u200d😀", "stmdlrv'S"]
    return "".join(generator.choice(generator.choice(pools)) if generator.random() < 0.9 else
                   chr(generator.randint(*generator.choice(BLOCKS))) for _ in range(characters))
