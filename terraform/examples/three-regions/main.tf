# Three regions from one root, which is applied once for each, with a state for each: the regions must not be able to break
# each other (docs/decisions/0009-terraform.md).
#
#   for region in us-east-1 eu-west-1 ap-southeast-2; do
#     terraform workspace select -or-create $region && terraform apply -var region=$region
#   done

terraform {
  required_version = ">= 1.9"
}

locals {
  regions = ["us-east-1", "eu-west-1", "ap-southeast-2"]
}

variable "region" {
  type        = string
  description = "The region to apply to."

  validation {
    condition     = contains(local.regions, var.region)
    error_message = "Region ${var.region} is not one of ${join(", ", local.regions)}; give one of these."
  }

  validation {
    condition     = contains([var.region, "default"], terraform.workspace)
    error_message = "Workspace ${terraform.workspace} is not that of region ${var.region}; run `terraform workspace select -or-create ${var.region}`."
  }
}

variable "package" {
  type        = string
  default     = "../../../dist/meridian-lambda.zip"
  description = "The zip that `make lambda` builds."
}

provider "aws" {
  region = var.region
}

module "meridian" {
  source = "../../modules/region"

  region      = var.region
  peers       = setsubtract(local.regions, [var.region])
  package     = var.package
  projections = ["shop.views:Orders"]
  api         = { enabled = true }
}

output "api_url" {
  value = module.meridian.api_url
}
