# One region, in a root and a state of its own. The peer is deployed in the same way from another root, at any time.

terraform {
  required_version = ">= 1.9"
}

provider "aws" {
  region = "us-east-1"
}

variable "package" {
  type        = string
  default     = "../../../dist/meridian-lambda.zip"
  description = "The zip that `make lambda` builds."
}

module "meridian" {
  source = "../../modules/region"

  region      = "us-east-1"
  peers       = ["eu-west-1"]
  package     = var.package
  projections = ["shop.views:Orders"] # in the package: make lambda INCLUDE="../shop/shop"

  alarms = {
    page   = { emails = ["on-call@example.com"] }
    ticket = { emails = ["platform@example.com"] }
  }
  tags = { Team = "platform" }
}

output "writer_policy_arn" {
  value = module.meridian.writer_policy_arn
}

output "environment" {
  value = module.meridian.environment
}
