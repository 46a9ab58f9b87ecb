# Personal data that can be forgotten. The KMS key is made once, outside Terraform, and replicated to each region
# ("Keep personal data" in docs/operating.md): no region's state may take it from the others.

terraform {
  required_version = ">= 1.9"
}

provider "aws" {
  region = "eu-west-1"
}

variable "personal_data_key" {
  type        = string
  description = "Id of the KMS multi-Region key, mrk-…, the same in every region."
}

variable "package" {
  type        = string
  default     = "../../../dist/meridian-lambda.zip"
  description = "The zip that `make lambda` builds."
}

module "meridian" {
  source = "../../modules/region"

  region        = "eu-west-1"
  peers         = ["eu-central-1"]
  package       = var.package # make lambda ERASURE=arm64 INCLUDE="../shop/shop"
  projections   = ["shop.views:Customers"]
  personal_data = { key = var.personal_data_key }
}

output "writer_policy_arn" {
  value = module.meridian.writer_policy_arn
}
