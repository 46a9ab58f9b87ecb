# The events table, in two blocks of which one is used: prevent_destroy must be written out. Both are built from the same
# locals, so that moving from one to the other (see `protect_events`) changes nothing but the protection.

locals {
  keys = ["pk", "sk"] # the partition key `region#type#id`, the sort key the sequence

  # Which lanes there are. Only the first event of a lane bears `begins` (`us-east-1#7`: the region, and one of the parts that
  # its lanes are spread over), so the index holds one item a lane.
  lanes = { name = "lanes", hash_key = "begins", range_key = "pk" }
}

resource "aws_dynamodb_table" "protected_events" {
  count = var.protect_events ? 1 : 0

  name                        = local.tables.events
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = local.keys[0]
  range_key                   = local.keys[1]
  stream_enabled              = true
  stream_view_type            = "NEW_IMAGE"
  deletion_protection_enabled = true

  dynamic "attribute" {
    for_each = concat(local.keys, [local.lanes.hash_key])
    content {
      name = attribute.value
      type = "S"
    }
  }

  global_secondary_index {
    name            = local.lanes.name
    hash_key        = local.lanes.hash_key
    range_key       = local.lanes.range_key
    projection_type = "KEYS_ONLY"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.key_arn
  }

  lifecycle {
    prevent_destroy = true
  }
}

resource "aws_dynamodb_table" "unprotected_events" {
  count = var.protect_events ? 0 : 1

  name                        = local.tables.events
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = local.keys[0]
  range_key                   = local.keys[1]
  stream_enabled              = true
  stream_view_type            = "NEW_IMAGE"
  deletion_protection_enabled = false

  dynamic "attribute" {
    for_each = concat(local.keys, [local.lanes.hash_key])
    content {
      name = attribute.value
      type = "S"
    }
  }

  global_secondary_index {
    name            = local.lanes.name
    hash_key        = local.lanes.hash_key
    range_key       = local.lanes.range_key
    projection_type = "KEYS_ONLY"
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.key_arn
  }
}

locals {
  events = one(concat(
    [for table in aws_dynamodb_table.protected_events : { name = table.name, arn = table.arn, stream_arn = table.stream_arn }],
    [for table in aws_dynamodb_table.unprotected_events : { name = table.name, arn = table.arn, stream_arn = table.stream_arn }],
  ))
}

# Events are immutable, for administrators too: whoever wants to change or delete one has to remove this policy first. Puts
# are denied because a put can replace an item. Meridian writes by PartiQL INSERT, which never does, and which has an IAM
# action of its own.
resource "aws_dynamodb_resource_policy" "events" {
  resource_arn = local.events.arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "EventsAreImmutable"
      Effect    = "Deny"
      Principal = "*"
      Action = [
        "dynamodb:BatchWriteItem",
        "dynamodb:DeleteItem",
        "dynamodb:PartiQLDelete",
        "dynamodb:PartiQLUpdate",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "dynamodb:UpdateTimeToLive",
      ]
      Resource = local.table_arns.events
    }]
  })
}

# Checkpoints, pointers and quarantine. All of it can be found again by comparing lanes.
resource "aws_dynamodb_table" "control" {
  name         = local.tables.control
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = local.keys[0]
  range_key    = local.keys[1]

  dynamic "attribute" {
    for_each = local.keys
    content {
      name = attribute.value
      type = "S"
    }
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.key_arn
  }
}

# Views. All of them can be built again from the events.
resource "aws_dynamodb_table" "views" {
  name         = local.tables.views
  billing_mode = "PAY_PER_REQUEST"
  hash_key     = local.keys[0]
  range_key    = local.keys[1]

  dynamic "attribute" {
    for_each = local.keys
    content {
      name = attribute.value
      type = "S"
    }
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.key_arn
  }
}

# Keys of personal data, one item a subject: all that `forgotten` destroys. Whoever loses the table has lost the data.
resource "aws_dynamodb_table" "keys" {
  #checkov:skip=CKV_AWS_28:No point-in-time recovery on purpose: a backup of the keys would undo forgetting.
  count = local.personal ? 1 : 0

  name                        = local.tables.keys
  billing_mode                = "PAY_PER_REQUEST"
  hash_key                    = local.keys[0]
  deletion_protection_enabled = var.protect_events

  attribute {
    name = local.keys[0]
    type = "S"
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.key_arn
  }
}
