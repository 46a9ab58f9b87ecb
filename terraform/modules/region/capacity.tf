# How much the tables take: maxima on demand, autoscaling where provisioned.

locals {
  autoscaled = { for name, table in var.tables : name => try(table.billing_mode, var.tables.events.billing_mode) == "PROVISIONED" }

  # The caps of tables on demand, as lists for dynamic blocks. No block where nothing is capped: a table without a cap has none.
  maximum = {
    for name, table in var.tables :
    name => [for cap in [{ read = table.max_read_units, write = table.max_write_units }] : cap if cap.read != null || cap.write != null]
  }

  # What autoscaling registers: the resource, and what it keeps between which bounds.
  table_of = { events = local.events.name, lanes = local.events.name, control = local.control.name, views = aws_dynamodb_table.views.name }
  scaled = merge([
    for name, table in var.tables : {
      for way, capacity in { Read = table.read_capacity, Write = table.write_capacity } : "${name}-${lower(way)}" => {
        resource                  = name == "lanes" ? "table/${local.table_of[name]}/index/${local.lanes.name}" : "table/${local.table_of[name]}"
        dimension                 = "dynamodb:${name == "lanes" ? "index" : "table"}:${way}CapacityUnits"
        metric                    = "DynamoDB${way}CapacityUtilization"
        min                       = try(capacity.min, null)
        max                       = try(capacity.max, null)
        target                    = table.utilization
      }
    } if local.autoscaled[name]
  ]...)
}

# None on an emulator: MiniStack has no Application Auto Scaling.
resource "aws_appautoscaling_target" "table" {
  for_each = { for name, scaled in local.scaled : name => scaled if !local.emulator }

  service_namespace  = "dynamodb"
  resource_id        = each.value.resource
  scalable_dimension = each.value.dimension
  min_capacity       = each.value.min
  max_capacity       = each.value.max
  tags               = local.tags
}

resource "aws_appautoscaling_policy" "table" {
  for_each = aws_appautoscaling_target.table

  name               = "${var.prefix}-${each.key}"
  policy_type        = "TargetTrackingScaling"
  service_namespace  = each.value.service_namespace
  resource_id        = each.value.resource_id
  scalable_dimension = each.value.scalable_dimension

  target_tracking_scaling_policy_configuration {
    target_value = local.scaled[each.key].target

    predefined_metric_specification {
      predefined_metric_type = local.scaled[each.key].metric
    }
  }
}
