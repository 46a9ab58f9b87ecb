#!/usr/bin/env bash
# pycrdt's merge_updates looks like a pure function of its arguments. It is not: where an update holds an object (a value in an
# array, an attribute of a format, an embed) with two members or more, each call in one process may write the members in another
# order. What is read of the result is the same; its bytes, length apart, are not. So a stored merge cannot be compared, cached
# or signed by its bytes, and replicas that merge the same updates differ. Doc.get_update of the same document is stable.
#
# Guess before it was run: merging one update with nothing gives that update's bytes, and the same ones each time.
# Seen with pycrdt 0.14.13: one list item {"a":1,…,"e":5} merged 200 times gives more than one byte string (of 120 possible ones),
# a list of texts gives one.
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check pycrdt==0.14.13
"$work/venv/bin/python" - <<'PY'
import sys

import pycrdt


def update_of(*values):
    document = pycrdt.Doc()
    document.get("list", type=pycrdt.Array).extend(values)
    return document.get_update()


def read(update):
    document = pycrdt.Doc()
    document.apply_update(update)
    return document.get("list", type=pycrdt.Array).to_py()


members = dict(zip("abcde", range(1, 6)))
with_object, plain = update_of(members), update_of("a", "b", 3)
merged = [pycrdt.merge_updates(with_object) for _ in range(200)]
print(f"one object of five members: {len(set(merged))} byte strings of {len({len(each) for each in merged})} length")
print(f"what is read of them: {len({str(sorted(read(each)[0].items())) for each in merged})} value")
print(f"texts and a number: {len({pycrdt.merge_updates(plain) for _ in range(200)})} byte string")
stable = len(set(merged)) == 1 or any(read(each) != [members] for each in merged)
if stable or len({pycrdt.merge_updates(plain) for _ in range(200)}) != 1:
    sys.exit("this is not what was seen with pycrdt 0.14.13")
PY
