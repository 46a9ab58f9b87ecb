# The events table, in four blocks of which one is used. What a `lifecycle` says must be written out: prevent_destroy, and which
# capacities are autoscaling's. Of an autoscaled table Terraform has to leave the index alone as a whole, as it cannot leave
# alone the capacities of an index; an on-demand table needs none of that, and Terraform goes on to see and add indexes there.
# All four are built from the same locals, so that moving from one to another (see `protect_events`, and "Capacity of the
# tables" in docs/operating.md) changes nothing but the protection or the capacity.

locals {
  keys = ["pk", "sk"] # the partition key `region#type#id`, the sort key the sequence

  # Which lanes there are. Only the first event of a lane bears `begins` (`us-east-1#7`: the region, and one of the parts that
  # its lanes are spread over), so the index holds one item a lane.
  lanes = { name = "lanes", hash_key = "begins", range_key = "pk" }
}

resource "aws_dynamodb_table" "protected_events" {
  count = var.protect_events && !local.autoscaled.events ? 1 : 0

  name                        = local.tables.events
  billing_mode                = "PAY_PER_REQUEST"
  table_class                 = var.tables.events.table_class
  hash_key                    = local.keys[0]
  range_key                   = local.keys[1]
  stream_enabled              = true
  stream_view_type            = "NEW_IMAGE"
  deletion_protection_enabled = true
  tags                        = local.tags

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

    dynamic "on_demand_throughput" {
      for_each = local.maximum.lanes
      content {
        max_read_request_units  = on_demand_throughput.value.read
        max_write_request_units = on_demand_throughput.value.write
      }
    }
  }

  dynamic "on_demand_throughput" {
    for_each = local.maximum.events
    content {
      max_read_request_units  = on_demand_throughput.value.read
      max_write_request_units = on_demand_throughput.value.write
    }
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
  count = !var.protect_events && !local.autoscaled.events ? 1 : 0

  name                        = local.tables.events
  billing_mode                = "PAY_PER_REQUEST"
  table_class                 = var.tables.events.table_class
  hash_key                    = local.keys[0]
  range_key                   = local.keys[1]
  stream_enabled              = true
  stream_view_type            = "NEW_IMAGE"
  deletion_protection_enabled = false
  tags                        = local.tags

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

    dynamic "on_demand_throughput" {
      for_each = local.maximum.lanes
      content {
        max_read_request_units  = on_demand_throughput.value.read
        max_write_request_units = on_demand_throughput.value.write
      }
    }
  }

  dynamic "on_demand_throughput" {
    for_each = local.maximum.events
    content {
      max_read_request_units  = on_demand_throughput.value.read
      max_write_request_units = on_demand_throughput.value.write
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

resource "aws_dynamodb_table" "protected_autoscaled_events" {
  #checkov:skip=CKV2_AWS_16:Scaled by aws_appautoscaling_target.table in capacity.tf where provisioned; checkov does not follow resource ids that are put together.
  count = var.protect_events && local.autoscaled.events ? 1 : 0

  name                        = local.tables.events
  billing_mode                = "PROVISIONED"
  read_capacity               = try(var.tables.events.read_capacity.min, null)
  write_capacity              = try(var.tables.events.write_capacity.min, null)
  table_class                 = var.tables.events.table_class
  hash_key                    = local.keys[0]
  range_key                   = local.keys[1]
  stream_enabled              = true
  stream_view_type            = "NEW_IMAGE"
  deletion_protection_enabled = true
  tags                        = local.tags

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
    read_capacity   = try(var.tables.lanes.read_capacity.min, null)
    write_capacity  = try(var.tables.lanes.write_capacity.min, null)
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
    ignore_changes  = [read_capacity, write_capacity, on_demand_throughput, global_secondary_index]
  }
}

resource "aws_dynamodb_table" "unprotected_autoscaled_events" {
  #checkov:skip=CKV2_AWS_16:Scaled by aws_appautoscaling_target.table in capacity.tf where provisioned; checkov does not follow resource ids that are put together.
  count = !var.protect_events && local.autoscaled.events ? 1 : 0

  name                        = local.tables.events
  billing_mode                = "PROVISIONED"
  read_capacity               = try(var.tables.events.read_capacity.min, null)
  write_capacity              = try(var.tables.events.write_capacity.min, null)
  table_class                 = var.tables.events.table_class
  hash_key                    = local.keys[0]
  range_key                   = local.keys[1]
  stream_enabled              = true
  stream_view_type            = "NEW_IMAGE"
  deletion_protection_enabled = false
  tags                        = local.tags

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
    read_capacity   = try(var.tables.lanes.read_capacity.min, null)
    write_capacity  = try(var.tables.lanes.write_capacity.min, null)
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.key_arn
  }

  lifecycle {
    ignore_changes = [read_capacity, write_capacity, on_demand_throughput, global_secondary_index]
  }
}

locals {
  events = one(concat(
    [for table in aws_dynamodb_table.protected_events : { name = table.name, arn = table.arn, stream_arn = table.stream_arn }],
    [for table in aws_dynamodb_table.unprotected_events : { name = table.name, arn = table.arn, stream_arn = table.stream_arn }],
    [for table in aws_dynamodb_table.protected_autoscaled_events : { name = table.name, arn = table.arn, stream_arn = table.stream_arn }],
    [for table in aws_dynamodb_table.unprotected_autoscaled_events : { name = table.name, arn = table.arn, stream_arn = table.stream_arn }],
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

# Checkpoints and quarantine, which are found again by comparing lanes; and roles, fences, homes of claims and the steps of
# runbooks, which are decisions that no event records. Point-in-time recovery is for these. The table is small, so it costs
# little. Two blocks, of which one is used, as for the events.
resource "aws_dynamodb_table" "protected_control" {
  #checkov:skip=CKV2_AWS_16:Scaled by aws_appautoscaling_target.table in capacity.tf where provisioned; checkov does not follow resource ids that are put together.
  count = var.protect_events ? 1 : 0

  name                        = local.tables.control
  billing_mode                = var.tables.control.billing_mode
  read_capacity               = try(var.tables.control.read_capacity.min, null)
  write_capacity              = try(var.tables.control.write_capacity.min, null)
  table_class                 = var.tables.control.table_class
  hash_key                    = local.keys[0]
  range_key                   = local.keys[1]
  deletion_protection_enabled = true
  tags                        = local.tags

  dynamic "attribute" {
    for_each = local.keys
    content {
      name = attribute.value
      type = "S"
    }
  }

  dynamic "on_demand_throughput" {
    for_each = local.maximum.control
    content {
      max_read_request_units  = on_demand_throughput.value.read
      max_write_request_units = on_demand_throughput.value.write
    }
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
    ignore_changes  = [read_capacity, write_capacity] # autoscaling's; on demand there are none
  }
}

resource "aws_dynamodb_table" "unprotected_control" {
  #checkov:skip=CKV2_AWS_16:Scaled by aws_appautoscaling_target.table in capacity.tf where provisioned; checkov does not follow resource ids that are put together.
  count = !var.protect_events ? 1 : 0

  name                        = local.tables.control
  billing_mode                = var.tables.control.billing_mode
  read_capacity               = try(var.tables.control.read_capacity.min, null)
  write_capacity              = try(var.tables.control.write_capacity.min, null)
  table_class                 = var.tables.control.table_class
  hash_key                    = local.keys[0]
  range_key                   = local.keys[1]
  deletion_protection_enabled = false
  tags                        = local.tags

  dynamic "attribute" {
    for_each = local.keys
    content {
      name = attribute.value
      type = "S"
    }
  }

  dynamic "on_demand_throughput" {
    for_each = local.maximum.control
    content {
      max_read_request_units  = on_demand_throughput.value.read
      max_write_request_units = on_demand_throughput.value.write
    }
  }

  point_in_time_recovery {
    enabled = true
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.key_arn
  }

  lifecycle {
    ignore_changes = [read_capacity, write_capacity] # autoscaling's; on demand there are none
  }
}

# Until 0.2 there was one block. Where `protect_events` is off, `terraform state mv` it to unprotected_control[0] before the plan.
moved {
  from = aws_dynamodb_table.control
  to   = aws_dynamodb_table.protected_control[0]
}

locals {
  control = one(concat(
    [for table in aws_dynamodb_table.protected_control : { name = table.name, arn = table.arn }],
    [for table in aws_dynamodb_table.unprotected_control : { name = table.name, arn = table.arn }],
  ))
}

# Views. All of them can be built again from the events: `projectors rebuild`, or `replicator reconcile --to views`.
resource "aws_dynamodb_table" "views" {
  #checkov:skip=CKV2_AWS_16:Scaled by aws_appautoscaling_target.table in capacity.tf where provisioned; checkov does not follow resource ids that are put together.
  #checkov:skip=CKV_AWS_28:Point-in-time recovery is tables.views.point_in_time_recovery, off by default: views are built again from the events, which have it.
  name           = local.tables.views
  billing_mode   = var.tables.views.billing_mode
  read_capacity  = try(var.tables.views.read_capacity.min, null)
  write_capacity = try(var.tables.views.write_capacity.min, null)
  table_class    = var.tables.views.table_class
  hash_key       = local.keys[0]
  range_key      = local.keys[1]
  tags           = local.tags

  dynamic "attribute" {
    for_each = local.keys
    content {
      name = attribute.value
      type = "S"
    }
  }

  dynamic "on_demand_throughput" {
    for_each = local.maximum.views
    content {
      max_read_request_units  = on_demand_throughput.value.read
      max_write_request_units = on_demand_throughput.value.write
    }
  }

  point_in_time_recovery {
    enabled = var.tables.views.point_in_time_recovery
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.key_arn
  }

  lifecycle {
    ignore_changes = [read_capacity, write_capacity] # autoscaling's; on demand there are none
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
  tags                        = local.tags

  attribute {
    name = local.keys[0]
    type = "S"
  }

  server_side_encryption {
    enabled     = true
    kms_key_arn = local.key_arn
  }
}
