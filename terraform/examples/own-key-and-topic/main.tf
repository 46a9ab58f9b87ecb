# A platform team's own: the KMS key, the topics of alarms, a permissions boundary, a path for roles, and signed code.

terraform {
  required_version = ">= 1.9"
}

provider "aws" {
  region = "us-east-1"
}

variable "page_topic_arn" {
  type        = string
  description = "ARN of the SNS topic, in us-east-1, of what has to wake somebody. Its policy lets CloudWatch publish."
}

variable "ticket_topic_arn" {
  type        = string
  description = "ARN of the SNS topic, in us-east-1, of what can wait for the morning."
}

variable "permissions_boundary" {
  type        = string
  description = "ARN of the policy that bounds every role."
}

variable "code_signing_config_arn" {
  type        = string
  description = "ARN of the Lambda code signing configuration."
}

variable "package" {
  type        = string
  default     = "../../../dist/meridian-lambda.zip"
  description = "The zip that `make lambda` builds."
}

# The module says what the key must allow. A key from elsewhere is given by its ARN in the same way.
resource "aws_kms_key" "meridian" {
  description         = "Meridian, of the platform team"
  policy              = module.meridian.key_policy
  enable_key_rotation = true

  lifecycle {
    prevent_destroy = true # without the key the events are lost
  }
}

module "meridian" {
  source = "../../modules/region"

  region      = "us-east-1"
  peers       = ["eu-west-1"]
  package     = var.package # signed
  projections = ["shop.views:Orders"]

  kms_key = { arn = aws_kms_key.meridian.arn }
  alarms = {
    page   = { topic_arn = var.page_topic_arn }
    ticket = { topic_arn = var.ticket_topic_arn }
  }
  permissions_boundary    = var.permissions_boundary
  role_path               = "/platform/meridian/"
  code_signing_config_arn = var.code_signing_config_arn
  log_retention_days      = 731
  tags                    = { Team = "platform", CostCenter = "4711" }
}

output "key_arn" {
  value = module.meridian.key_arn
}
