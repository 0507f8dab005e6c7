"""Checks the tree against the design's house rules: include arrows, where foreign headers may appear, budgets, words.

Each rule is a function from a tree to complaints. The tests at the end run all rules on this checkout, and each rule on
a small made-up tree that breaks it.
"""

import ast
import os
import re
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ.get("REPRISE_SOURCE", Path(__file__).resolve().parent.parent))

FOLDERS = {  # folder: what it may include
    "model": {"model"},
    "checkpointing": {"checkpointing", "model"},
    "distributed": {"distributed"},
    "monitoring": {"monitoring"},
    "training": {"training", "checkpointing", "model", "distributed", "monitoring"},
    "launcher": {"launcher", "training", "checkpointing", "model", "distributed", "monitoring"},
}
OUTSIDERS = ("tests", "benchmarks")  # may include every folder; no folder may include them
FOREIGN_HEADERS = {  # each in at most two .cpp files of the folders and in no header
    "MPI": r"mpi(-ext)?\.h",
    "NCCL": r"nccl\.h",
    "yaml-cpp": r"yaml-cpp/.*",
    "Prometheus": r"prometheus/.*",
    "PCRE2": r"pcre2\.h",
    "CUDA": r"(cuda|cuda_runtime|cuda_runtime_api|nvml)\.h|(c10|ATen)/cuda/.*",
}
NO_FOLDER_NAMED = {"common", "utils", "core", "helpers"}
NOT_OURS = {".git", "build", "runs", "data", "__pycache__"}
CPP = {".h", ".cpp", ".cu", ".cuh"}
SOURCES = CPP | {".py", ".sh", ".cmake"}

FILE_LINES, EXCUSED_FILE_LINES, EXCUSE = 300, 400, "Over 300 lines because"
FUNCTION_LINES, COLUMNS = 60, 120
FILLED_LINE, ANY_LINE = re.compile(r"^[ \t]*\S", re.MULTILINE), re.compile("\n")
CORE, CORE_LINES, ALL_LINES = ("model", "checkpointing", "distributed"), 5300, 19200

# Written in pieces, so that this file does not complain about itself.
FORBIDDEN_WORDS = [r"\bTO" + r"DO\b", r"\bFIX" + r"ME\b", "/ho" + "me/", "/ro" + "ot/", "/wo" + "rk/"]


class Tree:
    """All text files of a checkout: {path relative to it: text}."""

    def __init__(self, root):
        self.root = Path(root)
        self.texts, self.folders = {}, []
        for folder, subfolders, names in os.walk(self.root):
            subfolders[:] = sorted(name for name in subfolders if name not in NOT_OURS)
            here = Path(folder).relative_to(self.root)
            self.folders += [here / name for name in subfolders]
            for name in sorted(names):
                try:
                    self.texts[here / name] = (self.root / here / name).read_text(encoding="utf-8")
                except UnicodeDecodeError:
                    pass

    def files(self, suffixes, folders=None):
        for path, text in self.texts.items():
            if path.suffix in suffixes and (folders is None or path.parts[0] in folders):
                yield path, text


def includes_of(text):
    return [m.groups() for m in re.finditer(r'^\s*#\s*include\s*([<"])([^>"]+)[>"]', text, re.MULTILINE)]


def check_arrows(tree):
    for path, text in tree.files(CPP, [*FOLDERS, *OUTSIDERS]):
        allowed = FOLDERS.get(path.parts[0], {*FOLDERS, *OUTSIDERS})
        for mark, header in includes_of(text):
            target = header.split("/")[0]
            if mark == '"' and target not in allowed:
                yield f"{path}: includes {header}; {path.parts[0]} may include {', '.join(sorted(allowed))}"


def check_foreign_headers(tree):
    for name, pattern in FOREIGN_HEADERS.items():
        users = [path for path, text in tree.files(CPP, FOLDERS)
                 if any(re.fullmatch(pattern, header) for _, header in includes_of(text))]
        yield from (f"{path}: a header that includes {name}" for path in users if path.suffix in {".h", ".cuh"})
        if len(users) > 2:
            yield f"{name} is included by {len(users)} files, two at most: {', '.join(map(str, users))}"


def check_preprocessor(tree):
    for path, text in tree.files(CPP, FOLDERS):
        for match in re.finditer(r"^\s*#\s*(ifdef|ifndef|if)\b.*", text, re.MULTILINE):
            yield f"{path}: {match.group().strip()}; a missing backend is a stub file chosen by CMake"
        if path.suffix == ".h" and not text.startswith("#pragma once\n"):
            yield f"{path}: does not begin with #pragma once"


def check_file_sizes(tree):
    for path, text in tree.files(SOURCES):
        lines = text.splitlines()
        limit = EXCUSED_FILE_LINES if any(EXCUSE in line for line in lines[:5]) else FILE_LINES
        if len(lines) > limit:
            yield f"{path}: {len(lines)} lines, {limit} at most"
        for number, line in enumerate(lines, 1):
            if len(line) > COLUMNS:
                yield f"{path}:{number}: {len(line)} columns, {COLUMNS} at most"


def check_folder_sizes(tree):
    # The core's budget counts code and comments and not blank lines; that of all six folders counts every line.
    for folders, pattern, limit in ((CORE, FILLED_LINE, CORE_LINES), (tuple(FOLDERS), ANY_LINE, ALL_LINES)):
        total = sum(len(pattern.findall(text)) for _, text in tree.files(CPP, folders))
        if total > limit:
            yield f"{' '.join(folders)}: {total} lines, {limit} at most"


NOT_CODE = re.compile(r'R"([^(]*)\(.*?\)\1"|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])+\'|//[^\n]*|/\*.*?\*/', re.DOTALL)


def cpp_functions(text):
    """(first line, lines) of each outermost function; a heuristic on braces that holds for formatted code."""
    # Digit separators look like characters' quotes; line breaks keep the line numbers right.
    text = re.sub(r"(?<=[0-9a-fA-F])'(?=[0-9a-fA-F])", "", text)
    text = NOT_CODE.sub(lambda match: "\n" * match.group().count("\n"), text)
    text = re.sub(r"^\s*#.*$", "", text, flags=re.MULTILINE)
    scopes, head = [], 0  # a scope: start of its declaration if it is a function, else None
    for match in re.finditer(r"[{};]", text):
        if match.group() == "{":
            declaration = text[head:match.start()]
            opening = re.sub(r"template\s*<[^>]*>", "", declaration).split("(")[0]
            is_scope = re.search(r"\b(namespace|class|struct|enum|union|extern)\b", opening)
            inside = any(start is not None for start in scopes)
            is_function = "(" in declaration and not is_scope and not inside
            scopes.append(head + len(declaration) - len(declaration.lstrip()) if is_function else None)
        elif match.group() == "}" and scopes:
            start = scopes.pop()
            if start is not None:
                yield text.count("\n", 0, start) + 1, text.count("\n", start, match.start()) + 1
        head = match.end()


def python_functions(text):
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            yield node.lineno, node.end_lineno - node.lineno + 1


def check_function_sizes(tree):
    for path, text in tree.files(CPP | {".py"}):
        for first, lines in (python_functions if path.suffix == ".py" else cpp_functions)(text):
            if lines > FUNCTION_LINES:
                yield f"{path}:{first}: a function of {lines} lines, {FUNCTION_LINES} at most"


def check_words(tree):
    for path, text in tree.texts.items():
        for pattern in FORBIDDEN_WORDS:
            for match in re.finditer(pattern, text):
                yield f"{path}:{text.count(chr(10), 0, match.start()) + 1}: {match.group()}"
    yield from (f"{path}: no folder of this name" for path in tree.folders if path.name in NO_FOLDER_NAMED)


RULES = [check_arrows, check_foreign_headers, check_preprocessor, check_file_sizes, check_folder_sizes,
         check_function_sizes, check_words]


class ThisCheckout(unittest.TestCase):
    def test_all_rules(self):
        tree = Tree(SOURCE)
        self.assertTrue(set(FOLDERS) <= {path.parts[0] for path, _ in tree.files(CPP)}, "a folder without sources")
        for rule in RULES:
            with self.subTest(rule.__name__):
                complaints = list(rule(tree))
                if complaints:
                    self.fail("\n" + "\n".join(complaints))


class BrokenTrees(unittest.TestCase):
    """Each rule complains about a tree that breaks it, and about nothing in a tree that does not."""

    def complaints(self, rule, files):
        with tempfile.TemporaryDirectory() as folder:
            for name, text in files.items():
                path = Path(folder, name)
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
            return list(rule(Tree(folder)))

    def expect(self, rule, good, bad):
        self.assertEqual(self.complaints(rule, good), [])
        self.assertTrue(self.complaints(rule, bad))

    def test_arrows(self):
        good = {"training/a.h": '#include "model/b.h"\n#include <vector>\n', "tests/a.cpp": '#include "launcher/c.h"\n'}
        self.expect(check_arrows, good, {"model/b.h": '#include "distributed/a.h"\n'})
        for path, header in (("checkpointing/a.cpp", "distributed/a.h"), ("distributed/a.h", "checkpointing/p.h"),
                             ("monitoring/a.h", "model/b.h"), ("training/a.cpp", "launcher/c.h"), ("model/a.h", "b.h"),
                             ("launcher/a.cpp", "tests/t.h"), ("model/a.cpp", "benchmarks/t.h")):
            self.assertTrue(self.complaints(check_arrows, {path: f'#include "{header}"\n'}), (path, header))

    def test_foreign_headers(self):
        two = {"distributed/a.cpp": "#include <mpi.h>\n", "launcher/b.cpp": "#include <mpi.h>\n"}
        self.expect(check_foreign_headers, two, {**two, "launcher/c.cpp": "#include <mpi.h>\n"})
        for header in ("mpi.h", "nccl.h", "yaml-cpp/yaml.h", "prometheus/gauge.h", "cuda_runtime.h", "c10/cuda/x.h"):
            self.assertTrue(self.complaints(check_foreign_headers, {"launcher/a.h": f"#include <{header}>\n"}), header)

    def test_preprocessor(self):
        self.expect(check_preprocessor, {"model/a.h": "#pragma once\nint a();\n"}, {"model/a.h": "int a();\n"})
        self.assertTrue(self.complaints(check_preprocessor, {"model/a.cpp": "int a;\n#ifdef B\n#endif\n"}))

    def test_file_sizes(self):
        line = "int a;\n"
        self.expect(check_file_sizes, {"model/a.cpp": line * 300}, {"model/a.cpp": line * 301})
        excused = f"// {EXCUSE} of a reason.\n"
        self.expect(check_file_sizes, {"a.py": excused + line * 399}, {"a.py": excused + line * 400})
        self.expect(check_file_sizes, {"a.cpp": "é" * 120}, {"a.cpp": "x" * 121})

    def test_folder_sizes(self):
        def files(folder, lines):
            return {f"{folder}/{i}.cpp": "int a;\n" * 100 for i in range(lines // 100)}
        self.expect(check_folder_sizes, files("model", 5300), {**files("model", 5200), **files("distributed", 200)})
        self.expect(check_folder_sizes, files("model", 5300), {**files("model", 5300), "model/why.h": "// why\n"})
        self.expect(check_folder_sizes, files("launcher", 19200), files("launcher", 19300))
        blank = {f"launcher/{i}.cpp": "\n" * 100 for i in range(192)}
        self.expect(check_folder_sizes, blank, {**blank, "launcher/more.cpp": "\n"})

    def test_function_sizes(self):
        def function(lines):
            return "namespace a {\nvoid f(int x) {\n" + "  if (x) {  // {\n  }\n" * ((lines - 2) // 2) + "}\n}\n"
        self.expect(check_function_sizes, {"model/a.cpp": function(60)}, {"model/a.cpp": function(62)})
        member = "class A {\n  int f() const {\n" + "    g('{');\n" * 59 + "  }\n};\n"
        self.expect(check_function_sizes, {"a.h": "struct A {\n" + "  int a = f(1);\n" * 80 + "};\n"}, {"a.h": member})
        python = "def f():\n" + "    a = 1\n" * 59
        self.expect(check_function_sizes, {"a.py": python}, {"a.py": python + "    a = 2\n"})

    def test_words(self):
        self.expect(check_words, {"a.md": "to do\n"}, {"a.md": "TO" + "DO\n"})
        self.assertTrue(self.complaints(check_words, {"docs/a.md": "see /ho" + "me/me\n"}))
        self.assertTrue(self.complaints(check_words, {"model/uti" + "ls/a.h": ""}))


if __name__ == "__main__":
    unittest.main()
