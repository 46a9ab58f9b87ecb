# Meridian in one region. Applied once per region, each with its own state:
#
#   terraform workspace select -or-create us-east-1
#   terraform apply -var-file=regions/us-east-1.tfvars
#
# Regions know their peers by name only, so they apply in any order.

provider "aws" {
  region = var.region
}

# The worst mistake is to use one region's variables on another region's state: names are the same in all regions, so even
# a destroy would find what it looks for, in the wrong place. Two guards:
# - A workspace bears the name of its region (validation of `region`). It holds for destroys too.
# - The state remembers its region, for those who keep states apart by backend and have allowed the workspace `default`.
#   The input is taken once only (ignore_changes), so the output is the region that the state was made for, known at plan.
#   It does not stand in the way of destroys, right or wrong: Terraform evaluates no conditions when it destroys.
resource "terraform_data" "region" {
  input = var.region

  lifecycle {
    ignore_changes = [input]

    postcondition {
      condition     = self.output == var.region
      error_message = "This state belongs to ${coalesce(self.output, "another region")}, the variables to ${var.region}. Use the state of ${var.region}, or the other region's variables."
    }
  }
}

module "region" {
  source = "./modules/region"

  region                  = var.region
  peers                   = var.peers
  retired_peers           = var.retired_peers
  prefix                  = var.prefix
  package                 = local.package
  projections             = var.projections
  protect_events          = var.protect_events
  log_retention_days      = var.log_retention_days
  accounts                = var.accounts
  log_level               = var.log_level
  tags                    = var.tags
  permissions_boundary    = var.permissions_boundary
  role_path               = var.role_path
  kms_key                 = var.kms_key
  code_signing_config_arn = var.code_signing_config_arn
  alarms                  = var.alarms
  writer_principals       = var.writer_principals
  function                = var.function
  mapping                 = var.mapping
  tables                  = var.tables
  bus                     = var.bus
  external                = var.external
  claims                  = var.claims
  fences                  = var.fences
  copies                  = var.copies
  personal_data           = var.personal_data
  api                     = var.api
  thresholds              = var.thresholds
  emulator                = var.emulator
}

locals {
  package = startswith(var.package, "/") ? var.package : "${path.root}/${var.package}"
}
