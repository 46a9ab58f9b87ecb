#!/usr/bin/env bash
# A DynamoDB table on demand may have a cap, `on_demand_throughput` of aws_dynamodb_table. DynamoDB removes it when it is told -1
# (API reference, OnDemandThroughput). Who takes the block out of the configuration gets a plan to remove it, and an apply
# that fails each time: the provider sends an UpdateTable that asks for nothing, and the engine refuses it. Set -1 and leave it.
#
# Guess before it was run: the plan removes the cap, and so does the apply.
# Seen with Terraform 1.11.4, provider hashicorp/aws 5.100.0 and ministack 1.5.33 in DynamoDB's place: the plan has one change,
# the request is {"TableName":"capped"}, and the apply fails with a ValidationException.
set -euo pipefail
command -v terraform >/dev/null || { echo "terraform is missing; install Terraform 1.9 or later" >&2; exit 2; }
work="$(mktemp -d)"
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check ministack==1.5.33
port="$("$work/venv/bin/python" -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')"
export AWS_ACCESS_KEY_ID=test AWS_SECRET_ACCESS_KEY=test AWS_DEFAULT_REGION=us-east-1 CHECKPOINT_DISABLE=1
GATEWAY_PORT="$port" BIND_HOST=127.0.0.1 LOG_LEVEL=ERROR TMPDIR="$work" "$work/venv/bin/python" -m ministack >"$work/log" 2>&1 &
server=$!
until curl --silent --output /dev/null "http://127.0.0.1:$port/"; do sleep 0.2; done
configure() {
  cat >"$work/main.tf" <<TF
terraform {
  required_providers {
    aws = { source = "hashicorp/aws", version = "5.100.0" }
  }
}
provider "aws" {
  skip_credentials_validation = true
  skip_metadata_api_check     = true
  skip_requesting_account_id  = true
  endpoints { dynamodb = "http://127.0.0.1:$port" }
}
resource "aws_dynamodb_table" "capped" {
  name         = "capped"
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = "pk"
  attribute {
    name = "pk"
    type = "S"
  }
  $1
}
TF
}
cd "$work"
configure 'on_demand_throughput { max_write_request_units = 100 }'
terraform init -input=false -no-color >init.log
terraform apply -auto-approve -no-color >first.log
configure ''
terraform plan -no-color | tee plan.log | grep '^Plan:'
if TF_LOG_PROVIDER=DEBUG terraform apply -auto-approve -no-color >second.log 2>debug.log; then
  echo "the apply went through: this is not what was seen" >&2
  exit 1
fi
grep -h 'Error: ' second.log debug.log | sort -u | head -3
grep -h -A40 'UpdateTable' debug.log | grep -o '{"TableName":"capped"[^|]*}' | sort -u | head -3
grep -q '0 to add, 1 to change, 0 to destroy' plan.log
grep -q 'ValidationException' second.log debug.log
