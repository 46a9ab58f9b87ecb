#!/usr/bin/env bash
# A Python function on AWS Lambda may answer 6 MB. How many bytes an answer has is not decided by the handler, nor by the version of
# Python: awslambdaric, AWS's runtime client, escapes all that is not ASCII unless the environment variable AWS_EXECUTION_ENV
# is one of four names (those of the managed runtimes python3.12 to python3.15). Where it is another one or none, as in a
# container image of one's own that starts this client, the same answer of the same handler has three times the bytes for
# accented letters and twice for Chinese, and may pass the limit.
#
# Guess before it was run: one version of the client writes one answer in one way.
# Seen with awslambdaric 4.2.2 on Python 3.11: see EXPECTED below (name of the environment, bytes for 1,000 letters each).
set -euo pipefail
work="$(mktemp -d)"
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check awslambdaric==4.2.2 simplejson==3.20.1
cat > "$work/answers.py" <<'PY'
import os
import sys

from awslambdaric.lambda_runtime_marshaller import LambdaMarshaller

sizes = []
for letter in ("e", "é", "語", "🛫"):
    answer, kind = LambdaMarshaller().marshal_response({"statusCode": 200, "body": letter * 1000})
    assert kind == "application/json"
    sizes.append(len(answer.encode()))
print(os.environ.get("AWS_EXECUTION_ENV", "none"), *sizes, file=sys.stdout)
PY
seen="$(
  env -u AWS_EXECUTION_ENV "$work/venv/bin/python" "$work/answers.py"
  for name in AWS_Lambda_python3.11 AWS_Lambda_Image AWS_Lambda_python3.13; do
    AWS_EXECUTION_ENV="$name" "$work/venv/bin/python" "$work/answers.py"
  done
)"
EXPECTED="none 1031 6031 6031 12031
AWS_Lambda_python3.11 1031 6031 6031 12031
AWS_Lambda_Image 1031 6031 6031 12031
AWS_Lambda_python3.13 1031 2031 3031 4031"
echo "$seen"
[ "$seen" = "$EXPECTED" ] || { echo "this is not what was seen with awslambdaric 4.2.2" >&2; exit 1; }
