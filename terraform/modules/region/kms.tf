# One key for all that this region stores, unless `kms_key` names one of yours. Two blocks, of which one is used:
# prevent_destroy must be written out. The key is protected as the events table is, since without the key the table is lost
# as well.

resource "aws_kms_key" "protected" {
  count = local.makes_key && var.protect_events ? 1 : 0

  description             = local.key.description
  policy                  = local.key.policy
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = local.tags

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_kms_key" "unprotected" {
  count = local.makes_key && !var.protect_events ? 1 : 0

  description             = local.key.description
  policy                  = local.key.policy
  enable_key_rotation     = true
  deletion_window_in_days = 30
  tags                    = local.tags
}

resource "aws_kms_alias" "region" {
  count = local.makes_key ? 1 : 0

  name          = "alias/${var.prefix}"
  target_key_id = local.key_arn
}

# Until 0.2 every region had a key of its own.
moved {
  from = aws_kms_alias.region
  to   = aws_kms_alias.region[0]
}

locals {
  makes_key = var.kms_key == null
  key_arn   = one(concat([for key in [var.kms_key] : key.arn if key != null], aws_kms_key.protected[*].arn, aws_kms_key.unprotected[*].arn))

  key = {
    description = "Meridian ${var.prefix}: tables, queues, bus, alarms, logs and settings"

    # In a key's own policy, resource "*" is the key.
    policy = jsonencode({
      Version = "2012-10-17"
      Statement = [
        {
          Sid       = "AccountAdministers"
          Effect    = "Allow"
          Principal = { AWS = "arn:${local.partition}:iam::${local.account}:root" }
          Action    = "kms:*"
          Resource  = "*"
        },
        # Whoever in this account may use a table, queue or stream may use the key through it, and only through it. AWS's
        # own keys for these services say the same. It is also what lets replicators of other regions write here: they
        # know this region's name, not its key.
        {
          Sid       = "AccountUsesThroughServices"
          Effect    = "Allow"
          Principal = { AWS = "*" }
          Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:DescribeKey"]
          Resource  = "*"
          Condition = {
            StringEquals = {
              "kms:CallerAccount" = local.account
              "kms:ViaService"    = [for service in ["dynamodb", "kinesis", "lambda", "sqs"] : "${service}.${var.region}.${local.dns_suffix}"]
            }
          }
        },
        {
          Sid       = "ServicesKeepGrants"
          Effect    = "Allow"
          Principal = { AWS = "*" }
          Action    = "kms:CreateGrant"
          Resource  = "*"
          Condition = {
            StringEquals = {
              "kms:CallerAccount" = local.account
              "kms:ViaService"    = [for service in ["dynamodb", "lambda"] : "${service}.${var.region}.${local.dns_suffix}"]
            }
          }
        },
        {
          Sid       = "DynamoDBDescribes"
          Effect    = "Allow"
          Principal = { Service = "dynamodb.amazonaws.com" }
          Action    = ["kms:Describe*", "kms:Get*", "kms:List*"]
          Resource  = "*"
        },
        {
          Sid       = "AlarmsPublish"
          Effect    = "Allow"
          Principal = { Service = "cloudwatch.amazonaws.com" }
          Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
          Resource  = "*"
          Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
        },
        {
          Sid       = "LogsOfFunctions"
          Effect    = "Allow"
          Principal = { Service = "logs.${var.region}.${local.dns_suffix}" }
          Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
          Resource  = "*"
          Condition = {
            ArnLike = {
              "kms:EncryptionContext:aws:logs:arn" = "arn:${local.partition}:logs:${var.region}:${local.account}:log-group:/aws/lambda/${var.prefix}-*"
            }
          }
        },
      ]
    })
  }
}
