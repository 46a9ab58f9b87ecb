# The shape of a plan. No account, credentials or network needed.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region  = "us-east-1"
  peers   = ["eu-west-1", "ap-southeast-2"]
  package = "tests/package.zip"
}

run "root" {
  command = plan

  variables {
    allow_default_workspace = true
    peers                   = ["eu-west-1"]
    package                 = "tests/package.zip"
  }

  assert {
    condition     = output.functions == { replicator = "meridian-replicator", catch-up = "meridian-catch-up", heartbeat = "meridian-heartbeat", redrive = "meridian-redrive" }
    error_message = "the functions are not as named"
  }
  assert {
    condition = output.environment == {
      MERIDIAN_REGION      = "us-east-1", MERIDIAN_PEERS = "eu-west-1", MERIDIAN_PREFIX = "meridian",
      MERIDIAN_FENCE_LEASE = "2"
    }
    error_message = "an application's environment is not as expected"
  }
}

run "state_is_made_for_a_region" {
  variables {
    allow_default_workspace = true
    protect_events          = false
  }

  assert {
    condition     = terraform_data.region.output == "us-east-1"
    error_message = "the state does not remember its region"
  }
}

run "state_takes_no_other_region" {
  command = plan

  variables {
    allow_default_workspace = true
    protect_events          = false
    region                  = "eu-west-1"
    peers                   = ["us-east-1", "ap-southeast-2"]
  }

  expect_failures = [terraform_data.region]
}

run "events_are_protected" {
  command = plan
  module {
    source = "./modules/region"
  }

  assert {
    condition     = length(aws_dynamodb_table.protected_events) == 1 && length(aws_dynamodb_table.unprotected_events) == 0
    error_message = "the events table is not protected by default"
  }
  assert {
    condition     = aws_dynamodb_table.protected_events[0].deletion_protection_enabled
    error_message = "the events table has no deletion protection"
  }
  assert {
    condition     = length(aws_dynamodb_table.protected_control) == 1 && length(aws_dynamodb_table.unprotected_control) == 0 && aws_dynamodb_table.protected_control[0].deletion_protection_enabled
    error_message = "the control table is not protected as the events are"
  }
  assert {
    condition     = length(aws_kms_key.protected) == 1 && length(aws_kms_key.unprotected) == 0 && aws_kms_key.protected[0].enable_key_rotation
    error_message = "the key is not protected by default, or does not rotate"
  }
  assert {
    condition = toset(jsondecode(aws_dynamodb_resource_policy.events.policy).Statement[0].Action) == toset([
      "dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "dynamodb:PartiQLDelete", "dynamodb:PartiQLUpdate",
      "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:UpdateTimeToLive",
    ])
    error_message = "the events table's policy leaves a way to change an event"
  }
  assert {
    condition = (
      jsondecode(aws_dynamodb_resource_policy.events.policy).Statement[0].Effect == "Deny" &&
      jsondecode(aws_dynamodb_resource_policy.events.policy).Statement[0].Principal == "*" &&
      !can(jsondecode(aws_dynamodb_resource_policy.events.policy).Statement[0].Condition)
    )
    error_message = "the events table's policy does not deny everybody"
  }
}

run "events_unprotected_on_request" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    protect_events = false
  }

  assert {
    condition     = length(aws_dynamodb_table.protected_events) == 0 && !aws_dynamodb_table.unprotected_events[0].deletion_protection_enabled
    error_message = "protect_events = false does not take the protection off"
  }
  assert {
    condition     = length(aws_dynamodb_table.protected_control) == 0 && !aws_dynamodb_table.unprotected_control[0].deletion_protection_enabled
    error_message = "protect_events = false does not take the control table's protection off"
  }
  assert {
    condition     = [for index in aws_dynamodb_table.unprotected_events[0].global_secondary_index : index.name] == ["lanes"]
    error_message = "an unprotected events table lacks the index of lanes"
  }
  assert {
    condition     = length(aws_kms_key.protected) == 0 && length(aws_kms_key.unprotected) == 1
    error_message = "protect_events = false does not take the key's protection off"
  }
}

run "tables" {
  command = plan
  module {
    source = "./modules/region"
  }

  assert {
    condition = (
      aws_dynamodb_table.protected_events[0].name == "meridian-events" &&
      aws_dynamodb_table.protected_events[0].hash_key == "pk" &&
      aws_dynamodb_table.protected_events[0].range_key == "sk" &&
      aws_dynamodb_table.protected_events[0].billing_mode == "PAY_PER_REQUEST" &&
      aws_dynamodb_table.protected_events[0].stream_enabled &&
      aws_dynamodb_table.protected_events[0].stream_view_type == "NEW_IMAGE"
    )
    error_message = "the events table is not as the code expects it"
  }
  assert {
    condition = [for index in aws_dynamodb_table.protected_events[0].global_secondary_index : [index.name, index.hash_key, index.range_key, index.projection_type]] == [
      ["lanes", "begins", "pk", "KEYS_ONLY"]
    ]
    error_message = "the index of lanes is not as the code expects it"
  }
  assert {
    condition = (
      aws_dynamodb_table.protected_control[0].name == "meridian-control" && aws_dynamodb_table.protected_control[0].hash_key == "pk" && aws_dynamodb_table.protected_control[0].range_key == "sk" &&
      aws_dynamodb_table.views.name == "meridian-views" && aws_dynamodb_table.views.hash_key == "pk" && aws_dynamodb_table.views.range_key == "sk"
    )
    error_message = "the control or views table is not as the code expects it"
  }
  assert {
    condition = alltrue([
      for table in [aws_dynamodb_table.protected_events[0], aws_dynamodb_table.protected_control[0], aws_dynamodb_table.views] : table.server_side_encryption[0].enabled
    ])
    error_message = "a table lacks encryption"
  }
  assert {
    condition = (
      aws_dynamodb_table.protected_events[0].point_in_time_recovery[0].enabled && aws_dynamodb_table.protected_control[0].point_in_time_recovery[0].enabled &&
      !aws_dynamodb_table.views.point_in_time_recovery[0].enabled
    )
    error_message = "events or control lack point-in-time recovery, or views, which can be rebuilt, have it"
  }
}

# What `tables` leaves out changes nothing: on demand, without a cap, of the standard class.
run "tables_are_on_demand" {
  command = plan
  module {
    source = "./modules/region"
  }

  assert {
    condition = alltrue([
      for table in [aws_dynamodb_table.protected_events[0], aws_dynamodb_table.protected_control[0], aws_dynamodb_table.views] :
      table.billing_mode == "PAY_PER_REQUEST" && table.table_class == "STANDARD" && length(table.on_demand_throughput) == 0
    ])
    error_message = "a table is not on demand, is capped, or is of another class"
  }
  assert {
    condition     = alltrue([for index in aws_dynamodb_table.protected_events[0].global_secondary_index : length(index.on_demand_throughput) == 0])
    error_message = "the index of lanes is capped"
  }
  assert {
    condition     = length(aws_dynamodb_table.protected_autoscaled_events) == 0 && length(aws_dynamodb_table.unprotected_autoscaled_events) == 0 && length(aws_appautoscaling_target.table) == 0 && length(aws_appautoscaling_policy.table) == 0
    error_message = "something is scaled that is on demand"
  }
}

run "tables_take_caps_classes_and_recovery" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = {
      events  = { max_read_units = 4000, max_write_units = 2000, table_class = "STANDARD_INFREQUENT_ACCESS" }
      lanes   = { max_write_units = 500 }
      control = { max_read_units = -1 }
      views   = { max_write_units = 1000, point_in_time_recovery = true }
    }
  }

  assert {
    condition = (
      aws_dynamodb_table.protected_events[0].on_demand_throughput[0].max_read_request_units == 4000 &&
      aws_dynamodb_table.protected_events[0].on_demand_throughput[0].max_write_request_units == 2000 &&
      one([for index in aws_dynamodb_table.protected_events[0].global_secondary_index : index.on_demand_throughput[0].max_write_request_units]) == 500 &&
      aws_dynamodb_table.protected_control[0].on_demand_throughput[0].max_read_request_units == -1 &&
      aws_dynamodb_table.views.on_demand_throughput[0].max_write_request_units == 1000
    )
    error_message = "a table or the index does not take its maxima"
  }
  assert {
    condition     = aws_dynamodb_table.protected_events[0].table_class == "STANDARD_INFREQUENT_ACCESS" && aws_dynamodb_table.views.table_class == "STANDARD"
    error_message = "a table does not take its class, or takes another's"
  }
  assert {
    condition     = aws_dynamodb_table.views.point_in_time_recovery[0].enabled
    error_message = "views do not take point-in-time recovery"
  }
}

run "tables_are_autoscaled" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = {
      events = { billing_mode = "PROVISIONED", read_capacity = { min = 50, max = 1000 }, write_capacity = { min = 60, max = 2000 }, utilization = 60 }
      lanes  = { read_capacity = { min = 5, max = 100 }, write_capacity = { min = 10, max = 500 } }
      views  = { billing_mode = "PROVISIONED", read_capacity = { min = 20, max = 400 }, write_capacity = { min = 30, max = 600 } }
    }
  }

  assert {
    condition = (
      length(aws_dynamodb_table.protected_events) == 0 && length(aws_dynamodb_table.unprotected_events) == 0 && length(aws_dynamodb_table.unprotected_autoscaled_events) == 0 &&
      aws_dynamodb_table.protected_autoscaled_events[0].billing_mode == "PROVISIONED" && aws_dynamodb_table.protected_autoscaled_events[0].deletion_protection_enabled &&
      aws_dynamodb_table.protected_autoscaled_events[0].read_capacity == 50 && aws_dynamodb_table.protected_autoscaled_events[0].write_capacity == 60
    )
    error_message = "the events table is not provisioned, or not protected"
  }
  assert {
    condition = [for index in aws_dynamodb_table.protected_autoscaled_events[0].global_secondary_index : [index.name, index.hash_key, index.range_key, index.projection_type, index.read_capacity, index.write_capacity]] == [
      ["lanes", "begins", "pk", "KEYS_ONLY", 5, 10]
    ]
    error_message = "the index of lanes is not as the code expects it, or does not take its capacities"
  }
  assert {
    condition = (
      aws_dynamodb_table.protected_autoscaled_events[0].stream_enabled && aws_dynamodb_table.protected_autoscaled_events[0].stream_view_type == "NEW_IMAGE" &&
      aws_dynamodb_table.protected_autoscaled_events[0].point_in_time_recovery[0].enabled && aws_dynamodb_table.protected_autoscaled_events[0].server_side_encryption[0].enabled &&
      aws_dynamodb_table.protected_autoscaled_events[0].hash_key == "pk" && aws_dynamodb_table.protected_autoscaled_events[0].range_key == "sk"
    )
    error_message = "a provisioned events table is another than one on demand"
  }
  assert {
    condition     = aws_dynamodb_table.views.billing_mode == "PROVISIONED" && aws_dynamodb_table.views.write_capacity == 30 && aws_dynamodb_table.protected_control[0].billing_mode == "PAY_PER_REQUEST"
    error_message = "views are not provisioned, or control is"
  }
  assert {
    condition = { for name, target in aws_appautoscaling_target.table : name => "${target.resource_id} ${target.scalable_dimension} ${target.min_capacity} ${target.max_capacity}" } == {
      events-read  = "table/meridian-events dynamodb:table:ReadCapacityUnits 50 1000"
      events-write = "table/meridian-events dynamodb:table:WriteCapacityUnits 60 2000"
      lanes-read   = "table/meridian-events/index/lanes dynamodb:index:ReadCapacityUnits 5 100"
      lanes-write  = "table/meridian-events/index/lanes dynamodb:index:WriteCapacityUnits 10 500"
      views-read   = "table/meridian-views dynamodb:table:ReadCapacityUnits 20 400"
      views-write  = "table/meridian-views dynamodb:table:WriteCapacityUnits 30 600"
    }
    error_message = "not everything that is provisioned is scaled, or within other bounds"
  }
  assert {
    condition = {
      for name, policy in aws_appautoscaling_policy.table : name =>
      "${policy.target_tracking_scaling_policy_configuration[0].predefined_metric_specification[0].predefined_metric_type} ${policy.target_tracking_scaling_policy_configuration[0].target_value}"
      } == {
      events-read  = "DynamoDBReadCapacityUtilization 60"
      events-write = "DynamoDBWriteCapacityUtilization 60"
      lanes-read   = "DynamoDBReadCapacityUtilization 70"
      lanes-write  = "DynamoDBWriteCapacityUtilization 70"
      views-read   = "DynamoDBReadCapacityUtilization 70"
      views-write  = "DynamoDBWriteCapacityUtilization 70"
    }
    error_message = "autoscaling aims at another utilization"
  }
}

run "tables_are_autoscaled_unprotected" {
  module {
    source = "./modules/region"
  }
  variables {
    protect_events = false
    tables = {
      events  = { billing_mode = "PROVISIONED", read_capacity = { min = 5, max = 10 }, write_capacity = { min = 6, max = 10 } }
      lanes   = { read_capacity = { min = 5, max = 10 }, write_capacity = { min = 6, max = 10 } }
      control = { billing_mode = "PROVISIONED", read_capacity = { min = 7, max = 10 }, write_capacity = { min = 8, max = 10 } }
    }
  }

  assert {
    condition     = aws_dynamodb_table.unprotected_autoscaled_events[0].read_capacity == 5 && !aws_dynamodb_table.unprotected_autoscaled_events[0].deletion_protection_enabled
    error_message = "protect_events = false does not take the protection off a provisioned table"
  }
}

# What autoscaling has set, an apply leaves alone. Bounds change autoscaling's targets only.
run "an_apply_leaves_capacities_to_autoscaling" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    protect_events = false
    tables = {
      events  = { billing_mode = "PROVISIONED", read_capacity = { min = 50, max = 100 }, write_capacity = { min = 60, max = 100 } }
      lanes   = { read_capacity = { min = 50, max = 100 }, write_capacity = { min = 60, max = 100 } }
      control = { billing_mode = "PROVISIONED", read_capacity = { min = 70, max = 100 }, write_capacity = { min = 80, max = 100 } }
    }
  }

  assert {
    condition = (
      aws_dynamodb_table.unprotected_autoscaled_events[0].read_capacity == 5 && aws_dynamodb_table.unprotected_autoscaled_events[0].write_capacity == 6 &&
      aws_dynamodb_table.unprotected_control[0].read_capacity == 7 && aws_dynamodb_table.unprotected_control[0].write_capacity == 8 &&
      alltrue([for index in aws_dynamodb_table.unprotected_autoscaled_events[0].global_secondary_index : index.read_capacity == 5 && index.write_capacity == 6])
    )
    error_message = "an apply would set capacities that are autoscaling's"
  }
  assert {
    condition     = aws_appautoscaling_target.table["lanes-write"].min_capacity == 60 && aws_appautoscaling_target.table["control-read"].min_capacity == 70
    error_message = "autoscaling does not take new bounds"
  }
}

run "queues_take_tls_only" {
  command = plan
  module {
    source = "./modules/region"
  }

  assert {
    condition = alltrue([
      for queue in concat(values(aws_sqs_queue.backlog), [aws_sqs_queue.failed_batches, aws_sqs_queue.dead_letters]) :
      jsondecode(queue.policy).Statement == [{
        Sid       = "DenyInsecureTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = "arn:aws:sqs:us-east-1:123456789012:${queue.name}"
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }]
    ])
    error_message = "a queue can be used without TLS"
  }
}

run "mappings" {
  command = plan
  module {
    source = "./modules/region"
  }

  assert {
    condition = (
      aws_lambda_event_source_mapping.stream["replicator"].starting_position == "TRIM_HORIZON" &&
      aws_lambda_event_source_mapping.stream["replicator"].batch_size == 500 &&
      aws_lambda_event_source_mapping.stream["replicator"].maximum_batching_window_in_seconds == 0 &&
      aws_lambda_event_source_mapping.stream["replicator"].parallelization_factor == 1 &&
      aws_lambda_event_source_mapping.stream["replicator"].bisect_batch_on_function_error &&
      aws_lambda_event_source_mapping.stream["replicator"].maximum_retry_attempts == 100 &&
      aws_lambda_event_source_mapping.stream["replicator"].maximum_record_age_in_seconds == 21600 &&
      aws_lambda_event_source_mapping.stream["replicator"].function_response_types == toset(["ReportBatchItemFailures"]) &&
      length(aws_lambda_event_source_mapping.stream["replicator"].destination_config[0].on_failure) == 1
    )
    error_message = "the stream's mapping does not have the documented defaults"
  }
  assert {
    condition = alltrue([
      for mapping in values(aws_lambda_event_source_mapping.backlog) :
      mapping.batch_size == 10 && mapping.scaling_config[0].maximum_concurrency == 2 && mapping.function_response_types == toset(["ReportBatchItemFailures"])
    ])
    error_message = "a backlog's mapping does not have the documented defaults"
  }
  assert {
    condition     = aws_lambda_event_source_mapping.failed_batches.batch_size == 1
    error_message = "failed batches are not redriven one by one"
  }
  assert {
    condition     = alltrue([for queue in values(aws_sqs_queue.backlog) : queue.visibility_timeout_seconds == 720 && queue.message_retention_seconds == 1209600])
    error_message = "a backlog's visibility time-out is not six times the function's, or it keeps messages for less than 14 days"
  }
}

run "mappings_take_options" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    mapping  = { batch_size = 50, window_seconds = 5, parallelization = 4, retries = -1, record_age_seconds = -1, bisect = false, catch_up_concurrency = 7 }
    function = { timeout_seconds = 60 }
  }

  assert {
    condition = (
      aws_lambda_event_source_mapping.stream["replicator"].batch_size == 50 &&
      aws_lambda_event_source_mapping.stream["replicator"].maximum_batching_window_in_seconds == 5 &&
      aws_lambda_event_source_mapping.stream["replicator"].parallelization_factor == 4 &&
      aws_lambda_event_source_mapping.stream["replicator"].maximum_retry_attempts == -1 &&
      aws_lambda_event_source_mapping.stream["replicator"].maximum_record_age_in_seconds == -1 &&
      !aws_lambda_event_source_mapping.stream["replicator"].bisect_batch_on_function_error &&
      aws_lambda_event_source_mapping.backlog["eu-west-1"].scaling_config[0].maximum_concurrency == 7
    )
    error_message = "the mappings do not take their options"
  }
  assert {
    condition     = aws_sqs_queue.failed_batches.visibility_timeout_seconds == 360 && aws_lambda_function.function["replicator"].timeout == 60
    error_message = "the queues' visibility time-out does not follow the functions'"
  }
}

run "without_projections" {
  command = plan
  module {
    source = "./modules/region"
  }

  assert {
    condition = alltrue([
      for names in [keys(aws_lambda_function.function), keys(aws_iam_role.function), keys(aws_iam_role_policy.function), keys(aws_iam_role_policy.kms), keys(aws_cloudwatch_log_group.function)] :
      toset(names) == toset(["replicator", "catch-up", "heartbeat", "redrive"])
    ])
    error_message = "there is a projector, or a role or log of one, without projections"
  }
  assert {
    condition     = keys(aws_lambda_event_source_mapping.stream) == ["replicator"] && length(aws_lambda_event_source_mapping.backlog_views) == 0
    error_message = "something is mapped to a projector without projections"
  }
  assert {
    condition     = length([for name in keys(aws_cloudwatch_metric_alarm.alarm) : name if can(regex("project|views", name))]) == 0
    error_message = "there are alarms of a projector without projections"
  }
}

run "with_projections" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders", "shop.views:Stock"]
  }

  assert {
    condition = { for name, function in aws_lambda_function.function : function.function_name => function.handler } == {
      meridian-replicator         = "replicator.handlers.replicate"
      meridian-catch-up           = "replicator.handlers.catch_up"
      meridian-heartbeat          = "replicator.handlers.heartbeat"
      meridian-redrive            = "replicator.handlers.redrive"
      meridian-projector          = "projectors.handlers.project"
      meridian-projector-catch-up = "projectors.handlers.catch_up"
    }
    error_message = "the functions or their handlers are not as named"
  }
  assert {
    condition     = toset(keys(aws_lambda_event_source_mapping.stream)) == toset(["projector", "replicator"]) && length(aws_lambda_event_source_mapping.backlog_views) == 1
    error_message = "the projector is not fed by the stream and its backlog"
  }
  assert {
    condition = aws_lambda_function.function["projector"].environment[0].variables == tomap({
      MERIDIAN_REGION      = "us-east-1"
      MERIDIAN_PEERS       = "ap-southeast-2,eu-west-1"
      MERIDIAN_PREFIX      = "meridian"
      MERIDIAN_PROJECTIONS = "shop.views:Orders,shop.views:Stock"
      MERIDIAN_LOG         = "info"
    })
    error_message = "the projector's environment is not as expected"
  }
  assert {
    condition     = !contains(keys(aws_lambda_function.function["replicator"].environment[0].variables), "MERIDIAN_PROJECTIONS")
    error_message = "the replicator is told of projections"
  }
  assert {
    condition     = alltrue([for name in ["projection-failures", "iterator-age-projector", "errors-projector", "errors-projector-catch-up", "throttled-projector", "backlog-stuck-views"] : contains(keys(aws_cloudwatch_metric_alarm.alarm), name)])
    error_message = "a projector lacks one of its alarms"
  }
}

run "three_regions" {
  command = plan
  module {
    source = "./modules/region"
  }

  assert {
    condition     = toset(values(aws_sqs_queue.backlog)[*].name) == toset(["meridian-backlog-ap-southeast-2", "meridian-backlog-eu-west-1", "meridian-backlog-views"])
    error_message = "there is not one backlog for each peer and one for the views"
  }
  assert {
    condition     = toset(keys(aws_lambda_event_source_mapping.backlog)) == toset(["ap-southeast-2", "eu-west-1"])
    error_message = "not every peer's backlog is consumed"
  }
  assert {
    condition = toset(keys(aws_cloudwatch_metric_alarm.alarm)) == toset([
      "backlog-age-ap-southeast-2", "backlog-age-eu-west-1", "backlog-stuck-ap-southeast-2", "backlog-stuck-eu-west-1",
      "dead-letters", "errors-catch-up", "errors-heartbeat", "errors-redrive", "errors-replicator", "events-changed",
      "failed-batches", "heartbeat-ap-southeast-2", "heartbeat-eu-west-1", "iterator-age-replicator", "no-heartbeat",
      "quarantine", "replication-lag-ap-southeast-2", "replication-lag-eu-west-1", "throttled-catch-up",
      "throttled-heartbeat", "throttled-redrive", "throttled-replicator", "throttles-control", "throttles-events",
    ])
    error_message = "the alarms are not the documented ones"
  }
  assert {
    condition     = toset(keys(aws_cloudwatch_composite_alarm.alarm)) == toset(["heartbeat", "peer-ap-southeast-2", "peer-eu-west-1", "replicator"])
    error_message = "the composite alarms are not the documented ones"
  }
  assert {
    condition     = length(local.functions) == 4 && length(aws_iam_role.function) == 4
    error_message = "there are not four functions"
  }
}

# A fourth region is one more peer: a backlog, its mapping, four alarms and what joins them, and nothing else.
run "fourth_region" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    peers = ["eu-west-1", "ap-southeast-2", "sa-east-1"]
  }

  assert {
    condition     = length(aws_sqs_queue.backlog) == 4 && aws_sqs_queue.backlog["sa-east-1"].name == "meridian-backlog-sa-east-1"
    error_message = "the fourth region has no backlog, or more than one"
  }
  assert {
    condition     = length(aws_lambda_event_source_mapping.backlog) == 3
    error_message = "the fourth region's backlog is not consumed"
  }
  assert {
    condition = length(aws_cloudwatch_metric_alarm.alarm) == 24 + 4 && length(aws_cloudwatch_composite_alarm.alarm) == 4 + 1 && alltrue([
      for name in ["heartbeat-sa-east-1", "replication-lag-sa-east-1", "backlog-age-sa-east-1", "backlog-stuck-sa-east-1"] : contains(keys(aws_cloudwatch_metric_alarm.alarm), name)
    ])
    error_message = "the fourth region's alarms are not the four of a peer"
  }
  assert {
    condition     = length(aws_lambda_function.function) == 4 && length(aws_lambda_event_source_mapping.stream) == 1 && length(aws_iam_role.function) == 4 && length(aws_cloudwatch_log_group.function) == 4
    error_message = "a fourth region adds functions, roles or logs"
  }
  assert {
    condition     = alltrue([for function in values(aws_lambda_function.function) : function.environment[0].variables.MERIDIAN_PEERS == "ap-southeast-2,eu-west-1,sa-east-1"])
    error_message = "a function is not told of the fourth region"
  }
  assert {
    condition = contains(
      flatten([for statement in jsondecode(aws_iam_role_policy.function["replicator"].policy).Statement : statement.Resource if statement.Sid == "CopyOwnLanesToPeers"]),
      "arn:aws:dynamodb:sa-east-1:123456789012:table/meridian-events"
    )
    error_message = "the replicator may not write to the fourth region"
  }
}

# Nothing of external events, personal data and the API is there until it is asked for.
run "extras_are_off" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
  }

  assert {
    condition = (
      length(aws_kinesis_stream.external) == 0 && length(aws_lambda_event_source_mapping.bus) == 0 && length(aws_kinesis_resource_policy.bus) == 0 &&
      length(aws_iam_policy.consumer) == 0 && output.external_stream_arn == null && output.consumer_policy_arn == null
    )
    error_message = "external events are not off by default"
  }
  assert {
    condition     = length(aws_kinesis_stream.bus) == 0 && length(aws_dynamodb_kinesis_streaming_destination.bus) == 0 && output.bus_arn == null
    error_message = "there is a bus that nobody reads"
  }
  assert {
    condition     = length(aws_dynamodb_table.keys) == 0 && length(local.table_arns) == 4 && keys(output.tables) == ["control", "events", "views"]
    error_message = "there is a table of keys that nobody asked for"
  }
  assert {
    condition     = length(aws_lambda_function_url.api) == 0 && length(aws_iam_policy.caller) == 0 && output.api_url == null && output.caller_policy_arn == null
    error_message = "the API is not off by default"
  }
  assert {
    condition     = toset(keys(aws_lambda_function.function)) == toset(["replicator", "catch-up", "heartbeat", "redrive", "projector", "projector-catch-up"])
    error_message = "there is a function that nobody asked for"
  }
  assert {
    condition = alltrue([
      for function in values(aws_lambda_function.function) :
      length(setintersection(keys(function.environment[0].variables), ["MERIDIAN_EXTERNAL", "MERIDIAN_EXTERNAL_LANES", "MERIDIAN_PERSONAL_KEY"])) == 0
    ])
    error_message = "a function is told of what is off"
  }
  assert {
    condition = length(flatten([
      for policy in concat(values(aws_iam_role_policy.function)[*].policy, [aws_iam_policy.writer.policy, aws_iam_policy.reader.policy]) : [
        for statement in jsondecode(policy).Statement : [for action in statement.Action : action if startswith(action, "kms:") || startswith(action, "kinesis:")]
      ]
    ])) == 0
    error_message = "a role may use what is off"
  }
  assert {
    condition     = length([for name in keys(aws_cloudwatch_metric_alarm.alarm) : name if can(regex("publish|api|bus", name))]) == 0 && length(local.widgets) == 15
    error_message = "there are alarms or widgets of what is off"
  }
}

run "external_events" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    bus         = { retention_hours = 48 }
    external    = { transformation = "shop.external:Orders" }
  }

  assert {
    condition = (
      aws_kinesis_stream.external[0].name == "meridian-external" && aws_kinesis_stream.external[0].encryption_type == "KMS" &&
      aws_kinesis_stream.external[0].stream_mode_details[0].stream_mode == "ON_DEMAND" && aws_kinesis_stream.external[0].retention_period == 48
    )
    error_message = "the stream of external events is not as documented"
  }
  assert {
    condition     = aws_lambda_function.function["publish"].function_name == "meridian-publish" && aws_lambda_function.function["publish"].handler == "replicator.handlers.publish"
    error_message = "the publisher is not as named"
  }
  assert {
    condition = (
      aws_lambda_event_source_mapping.bus[0].starting_position == "TRIM_HORIZON" &&
      aws_lambda_event_source_mapping.bus[0].function_response_types == toset(["ReportBatchItemFailures"]) &&
      aws_lambda_event_source_mapping.bus[0].maximum_retry_attempts == -1 &&
      aws_lambda_event_source_mapping.bus[0].maximum_record_age_in_seconds == -1 &&
      aws_lambda_event_source_mapping.bus[0].parallelization_factor == 1
    )
    error_message = "the publisher gives records up, or begins too late"
  }
  assert {
    condition = alltrue([
      for function in values(aws_lambda_function.function) :
      function.environment[0].variables.MERIDIAN_EXTERNAL == "shop.external:Orders" && !contains(keys(function.environment[0].variables), "MERIDIAN_EXTERNAL_LANES")
    ])
    error_message = "a function is not told of external events, so that quarantine is not counted alike"
  }
  assert {
    condition     = aws_iam_policy.consumer[0].name == "meridian-us-east-1-consumer" && aws_iam_role.function["publish"].name == "meridian-us-east-1-publish"
    error_message = "the consumers' policy or the publisher's role is not as named"
  }
  assert {
    condition     = alltrue([for name in ["publish-lag", "iterator-age-publish", "errors-publish", "throttled-publish", "bus-age"] : contains(keys(aws_cloudwatch_metric_alarm.alarm), name)])
    error_message = "the publisher lacks one of its alarms"
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.alarm["publish-lag"].metric_name == "PublishLag" && aws_cloudwatch_metric_alarm.alarm["publish-lag"].namespace == "Meridian" &&
      aws_cloudwatch_metric_alarm.alarm["publish-lag"].dimensions == tomap({ region = "us-east-1" }) && aws_cloudwatch_metric_alarm.alarm["publish-lag"].threshold == 60000
    )
    error_message = "the alarm on external events' lag does not look at it"
  }
  assert {
    condition     = length(local.widgets) == 18
    error_message = "the dashboard does not show external events and their bus"
  }
}

run "external_events_take_options" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    external   = { transformation = "shop.external:Orders", lanes = "own", retention_hours = 168 }
    thresholds = { publish_lag_seconds = 5 }
  }

  assert {
    condition     = aws_kinesis_stream.external[0].retention_period == 168 && aws_lambda_function.function["publish"].environment[0].variables.MERIDIAN_EXTERNAL_LANES == "own"
    error_message = "external events do not take their options"
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.alarm["publish-lag"].threshold == 5000 && toset(keys(aws_lambda_function.function)) == toset(["replicator", "catch-up", "heartbeat", "redrive", "publish"])
    error_message = "the alarm does not take its threshold, or external events need projections"
  }
}

run "optimistic_claims" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    claims      = { optimistic = ["nickname", "email"], compensation = "shop.claims:compensate" }
  }

  assert {
    condition = toset([for name, function in aws_lambda_function.function : name if contains(keys(function.environment[0].variables), "MERIDIAN_OPTIMISTIC_CLAIMS")]) == toset([
      "projector", "projector-catch-up",
    ])
    error_message = "others than those who settle claims are told of them, or not all of them"
  }
  assert {
    condition = (
      aws_lambda_function.function["projector"].environment[0].variables.MERIDIAN_OPTIMISTIC_CLAIMS == "email,nickname" &&
      aws_lambda_function.function["projector"].environment[0].variables.MERIDIAN_COMPENSATION == "shop.claims:compensate"
    )
    error_message = "the projector does not know which claims to settle, or how"
  }
  assert {
    condition = toset([for name, policy in aws_iam_role_policy.function : name if strcontains(policy.policy, "AppendToOwnLanes")]) == toset([
      "heartbeat", "projector", "projector-catch-up",
    ])
    error_message = "others than those who settle claims may append, or not all of them"
  }
}

run "fences" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    api         = { enabled = true }
    fences      = { checked = ["payment", "account", "payment"], lease_seconds = 0.5 }
  }

  assert {
    condition = { for name, function in aws_lambda_function.function : name => function.environment[0].variables.MERIDIAN_FENCE_CHECKED if contains(keys(function.environment[0].variables), "MERIDIAN_FENCE_CHECKED") } == {
      api = "account,payment", heartbeat = "account,payment"
    }
    error_message = "others than those who append are told which streams check the fence, or not all of them"
  }
  assert {
    condition     = aws_lambda_function.function["api"].environment[0].variables.MERIDIAN_FENCE_LEASE == "0.5"
    error_message = "the API does not know for how long it may rely on the fence"
  }
  assert {
    condition     = output.environment.MERIDIAN_FENCE_CHECKED == "account,payment" && output.environment.MERIDIAN_FENCE_LEASE == "0.5"
    error_message = "an application does not know how to keep to the fence"
  }
  assert {
    condition     = toset([for name, policy in aws_iam_role_policy.function : name if strcontains(policy.policy, "CheckControl")]) == toset(["api", "heartbeat"])
    error_message = "others than those who append may check the fence in a transaction, or not all of them"
  }
}

run "copies" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    api         = { enabled = true }
    claims      = { optimistic = ["nickname"] }
    copies      = { account = 2, "*" = 1 }
  }

  assert {
    condition     = aws_lambda_function.function["api"].environment[0].variables.MERIDIAN_COPIES == "*=1,account=2" && output.environment.MERIDIAN_COPIES == "*=1,account=2"
    error_message = "who appends does not know for how many copies to wait"
  }
  assert {
    condition = toset([for name, policy in aws_iam_role_policy.function : name if strcontains(policy.policy, "CopyOwnLanesToPeers")]) == toset([
      "api", "catch-up", "projector", "projector-catch-up", "replicator"
    ]) && strcontains(aws_iam_policy.writer.policy, "CopyOwnLanesToPeers")
    error_message = "who appends may not hand events over, or the heartbeat may"
  }
}

run "no_copies_by_default" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    api         = { enabled = true }
  }

  assert {
    condition     = !contains(keys(output.environment), "MERIDIAN_COPIES") && !strcontains(aws_iam_policy.writer.policy, "CopyOwnLanesToPeers")
    error_message = "writers may insert at peers without need"
  }
}

run "fences_where_claims_are_settled" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    claims      = { optimistic = ["nickname"] }
    fences      = { checked = ["*"] }
  }

  assert {
    condition = toset([
      for name, function in aws_lambda_function.function : name
      if try(function.environment[0].variables.MERIDIAN_FENCE_CHECKED, "") == "*" && try(function.environment[0].variables.MERIDIAN_FENCE_LEASE, "") == "2"
    ]) == toset(["heartbeat", "projector", "projector-catch-up"])
    error_message = "the projector, which appends, does not know how to keep to the fence"
  }
  assert {
    condition = toset([
      for name, policy in aws_iam_role_policy.function : name
      if length(setsubtract(["AppendToOwnLanes", "BeginRoleAndFence", "KnowOwnTables", "ReadControlOfPeers", "ListLanesAtPeers", "CheckControl"], [for statement in jsondecode(policy.policy).Statement : statement.Sid])) == 0
    ]) == toset(["heartbeat", "projector", "projector-catch-up"])
    error_message = "the projector may append and not find out whether it should, or others may"
  }
}

run "fences_by_default" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    api         = { enabled = true }
  }

  assert {
    condition = toset([
      for name, function in aws_lambda_function.function : name if length([for variable in keys(function.environment[0].variables) : variable if startswith(variable, "MERIDIAN_FENCE")]) > 0
    ]) == toset(["api", "heartbeat"]) && !contains(keys(output.environment), "MERIDIAN_FENCE_CHECKED")
    error_message = "others than those who append are told of fences, or streams check them that nobody named"
  }
  assert {
    condition     = length([for policy in values(aws_iam_role_policy.function)[*].policy : policy if strcontains(policy, "CheckControl")]) == 0
    error_message = "a function may check the fence in a transaction though no stream does"
  }
}

run "personal_data" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections   = ["shop.views:Orders"]
    api           = { enabled = true }
    personal_data = { key = "mrk-1234abcd12ab34cd56ef1234567890ab" }
  }

  assert {
    condition = (
      aws_dynamodb_table.keys[0].name == "meridian-keys" && aws_dynamodb_table.keys[0].hash_key == "pk" && aws_dynamodb_table.keys[0].range_key == null &&
      aws_dynamodb_table.keys[0].deletion_protection_enabled && aws_dynamodb_table.keys[0].server_side_encryption[0].enabled
    )
    error_message = "the table of keys is not as the code expects it, or not protected"
  }
  assert {
    condition     = length(aws_dynamodb_table.keys[0].point_in_time_recovery) == 0 || !try(aws_dynamodb_table.keys[0].point_in_time_recovery[0].enabled, false)
    error_message = "the keys are backed up, and a backup brings back what was forgotten"
  }
  assert {
    condition = toset([for name, function in aws_lambda_function.function : name if contains(keys(function.environment[0].variables), "MERIDIAN_PERSONAL_KEY")]) == toset([
      "projector", "projector-catch-up", "api",
    ])
    error_message = "others than those who reveal personal data are told of the key, or not all of them"
  }
  assert {
    condition     = output.environment.MERIDIAN_PERSONAL_KEY == "mrk-1234abcd12ab34cd56ef1234567890ab" && keys(output.tables) == ["control", "events", "keys", "views"]
    error_message = "an application is not told of the key or its table"
  }
}

run "personal_data_of_a_region_that_goes" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    protect_events = false
    personal_data  = { key = "mrk-1234abcd12ab34cd56ef1234567890ab" }
  }

  assert {
    condition     = !aws_dynamodb_table.keys[0].deletion_protection_enabled
    error_message = "protect_events = false does not take the protection of the keys off"
  }
}

run "api" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    function    = { reserved_concurrency = 50 }
    api         = { enabled = true }
  }

  assert {
    condition     = aws_lambda_function_url.api[0].authorization_type == "AWS_IAM"
    error_message = "the API lets in who did not sign"
  }
  assert {
    condition = (
      aws_lambda_function.function["api"].function_name == "meridian-api" && aws_lambda_function.function["api"].handler == "projectors.api_handler.handler" &&
      aws_lambda_function.function["api"].memory_size == 512 && aws_lambda_function.function["api"].timeout == 30 && aws_lambda_function.function["api"].reserved_concurrent_executions == 50
    )
    error_message = "the API's function is not as documented"
  }
  assert {
    condition = (
      aws_lambda_function.function["api"].environment[0].variables.MERIDIAN_PROJECTIONS == "shop.views:Orders" &&
      !contains(keys(aws_lambda_function.function["api"].environment[0].variables), "MERIDIAN_TOKEN_KEYS")
    )
    error_message = "the API is not told of the projections, or of keys that would be in the state"
  }
  assert {
    condition     = aws_iam_policy.caller[0].name == "meridian-us-east-1-caller" && contains(keys(aws_cloudwatch_metric_alarm.alarm), "errors-api")
    error_message = "the callers' policy is not as named, or the API has no alarm"
  }
}

run "api_takes_options" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    api         = { enabled = true, memory_mb = 1024, timeout_seconds = 10, reserved_concurrency = 7 }
  }

  assert {
    condition = (
      aws_lambda_function.function["api"].memory_size == 1024 && aws_lambda_function.function["api"].timeout == 10 && aws_lambda_function.function["api"].reserved_concurrent_executions == 7 &&
      aws_lambda_function.function["projector"].memory_size == 512 && aws_lambda_function.function["projector"].timeout == 120
    )
    error_message = "the API does not take its options, or others do"
  }
}

run "policies" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections       = ["shop.views:Orders"]
    writer_principals = ["arn:aws:iam::123456789012:role/shop"]
    external          = { transformation = "shop.external:Orders" }
    personal_data     = { key = "mrk-1234abcd12ab34cd56ef1234567890ab" }
    api               = { enabled = true }
    fences            = { checked = ["*"] }
  }

  assert {
    condition = alltrue(flatten([
      for policy in concat(values(aws_iam_role_policy.function)[*].policy, [aws_iam_policy.writer.policy, aws_iam_policy.reader.policy, aws_iam_policy.operator.policy, aws_iam_policy.oncall.policy, aws_iam_policy.worker.policy]) : [
        for statement in jsondecode(policy).Statement : [
          for resource in flatten([statement.Resource]) : !endswith(resource, "table/meridian-events") || length(setintersection(flatten([statement.Action]), [
            "dynamodb:BatchWriteItem", "dynamodb:DeleteItem", "dynamodb:PartiQLDelete", "dynamodb:PartiQLUpdate", "dynamodb:PutItem", "dynamodb:UpdateItem",
          ])) == 0
        ]
      ]
    ]))
    error_message = "a role may change or delete an event"
  }
  assert {
    condition = alltrue(flatten([
      for policy in concat(values(aws_iam_role_policy.function)[*].policy, [aws_iam_policy.writer.policy, aws_iam_policy.reader.policy, aws_iam_policy.operator.policy, aws_iam_policy.oncall.policy, aws_iam_policy.worker.policy]) : [
        for statement in jsondecode(policy).Statement :
        statement.Effect == "Allow" && (!contains(flatten([statement.Resource]), "*") || statement.Action == ["kinesis:ListStreams"]) && length([for action in flatten([statement.Action]) : action if strcontains(action, "*")]) == 0
      ]
    ]))
    error_message = "a role has a wildcard for its actions or resources"
  }
  assert {
    condition = alltrue(flatten([
      for policy in concat(values(aws_iam_role_policy.function)[*].policy, [aws_iam_policy.writer.policy]) : [
        for statement in jsondecode(policy).Statement :
        statement.Condition == {
          "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["us-east-1#*"] }
          Null                      = { "dynamodb:LeadingKeys" = "false" }
        }
        if contains(flatten([statement.Action]), "dynamodb:PartiQLInsert") && length([for resource in flatten([statement.Resource]) : resource if endswith(resource, "table/meridian-events")]) > 0
      ]
    ]))
    error_message = "events can be added outside of the region's own prefix"
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_policy.writer.policy).Statement : statement if statement.Sid == "BeginRoleAndFence"] == [{
      Sid      = "BeginRoleAndFence"
      Effect   = "Allow"
      Action   = ["dynamodb:PartiQLInsert"]
      Resource = ["arn:aws:dynamodb:us-east-1:123456789012:table/meridian-control"]
      Condition = {
        "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["role", "fence", "fence#*"] }
        Null                      = { "dynamodb:LeadingKeys" = "false" }
      }
    }]
    error_message = "a writer may write more of the control state than a role and a fence that are not there yet"
  }
  assert {
    condition     = aws_iam_policy.operator.name == "meridian-us-east-1-operator"
    error_message = "the operators' policy is not as named"
  }
  assert {
    condition     = aws_iam_policy.oncall.name == "meridian-us-east-1-oncall"
    error_message = "the policy of people on call is not as named"
  }
  assert {
    condition     = length(setsubtract(jsondecode(aws_iam_policy.operator.policy).Statement[*].Sid, jsondecode(aws_iam_policy.oncall.policy).Statement[*].Sid)) == 0
    error_message = "whoever is on call lacks a right of operators"
  }
  # 6,144 characters is what AWS takes for a managed policy, without white space.
  assert {
    condition     = alltrue([for policy in [aws_iam_policy.writer.policy, aws_iam_policy.reader.policy, aws_iam_policy.operator.policy, aws_iam_policy.oncall.policy, aws_iam_policy.worker.policy] : length(policy) <= 6144])
    error_message = "a policy is longer than AWS takes"
  }
  assert {
    condition     = toset([for role in values(aws_iam_role.function) : role.name]) == toset([for name in keys(local.functions) : "meridian-us-east-1-${name}"])
    error_message = "role names, which are global, do not bear the region"
  }
  assert {
    condition     = jsondecode(aws_iam_role.writer[0].assume_role_policy).Statement[0].Principal.AWS == ["arn:aws:iam::123456789012:role/shop"]
    error_message = "the role for writers is not for those who were named"
  }
}

run "no_role_for_writers_unless_named" {
  command = plan
  module {
    source = "./modules/region"
  }
  assert {
    condition     = length(aws_iam_role.writer) == 0 && length(aws_iam_role_policy_attachment.writer) == 0
    error_message = "there is a role for writers that nobody asked for"
  }
}

run "bus_can_be_off" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    bus = { enabled = false }
  }
  assert {
    condition     = length(aws_kinesis_stream.bus) == 0 && length(aws_dynamodb_kinesis_streaming_destination.bus) == 0 && output.bus_arn == null
    error_message = "the bus is not off"
  }
}

run "bus_is_on_where_it_is_said" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    bus        = { enabled = true }
    thresholds = { bus_age_seconds = 30 }
  }
  assert {
    condition = (
      aws_kinesis_stream.bus[0].name == "meridian-events" && aws_kinesis_stream.bus[0].encryption_type == "KMS" && aws_kinesis_stream.bus[0].retention_period == 24 &&
      aws_kinesis_stream.bus[0].stream_mode_details[0].stream_mode == "ON_DEMAND" && length(aws_dynamodb_kinesis_streaming_destination.bus) == 1
    )
    error_message = "the bus is not as documented"
  }
  assert {
    condition     = length(aws_kinesis_stream.external) == 0 && length(aws_lambda_event_source_mapping.bus) == 0 && length(aws_kinesis_resource_policy.bus) == 0 && !contains(keys(aws_lambda_function.function), "publish")
    error_message = "the bus alone makes a publisher"
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.alarm["bus-age"].threshold == 30000 && aws_cloudwatch_metric_alarm.alarm["bus-age"].metric_name == null &&
      [for query in aws_cloudwatch_metric_alarm.alarm["bus-age"].metric_query : [query.expression, query.period, query.return_data]] == [[
        "SELECT MAX(AgeOfOldestUnreplicatedRecord) FROM SCHEMA(\"AWS/DynamoDB\", DelegatedOperation, TableName) WHERE TableName = 'meridian-events'", 60, true,
      ]]
    )
    error_message = "the alarm on the bus's age does not look at it"
  }
  assert {
    condition     = length(local.widgets) == 16
    error_message = "the dashboard does not show the bus"
  }
}

run "bus_is_on_where_external_events_are" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    external = { transformation = "shop.external:Orders" }
  }
  assert {
    condition     = length(aws_kinesis_stream.bus) == 1 && length(aws_dynamodb_kinesis_streaming_destination.bus) == 1 && length(aws_lambda_event_source_mapping.bus) == 1 && contains(keys(aws_cloudwatch_metric_alarm.alarm), "bus-age")
    error_message = "external events have no bus"
  }
}

# 1,024 characters are what CloudWatch takes for a description.
run "alarms_say_what_to_do" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    external    = { transformation = "shop.external:Orders" }
    api         = { enabled = true }
  }
  assert {
    condition     = alltrue([for alarm in values(aws_cloudwatch_metric_alarm.alarm) : length(alarm.alarm_description) <= 1024])
    error_message = "an alarm says more than CloudWatch takes"
  }
  assert {
    condition     = alltrue([for name in ["replicator", "projector", "publish"] : strcontains(aws_cloudwatch_metric_alarm.alarm["iterator-age-${name}"].alarm_description, "Look at its errors, its throttles, and its duration") && strcontains(aws_cloudwatch_metric_alarm.alarm["iterator-age-${name}"].alarm_description, "concurrent batches, which wait for each other")])
    error_message = "who is behind is told to read more at once before anything else, or not what that costs"
  }
}

run "emulator" {
  command = plan
  module {
    source = "./modules/region"
  }
  override_data {
    target = data.aws_caller_identity.current
    values = { account_id = "000000000000" }
  }
  variables {
    emulator = {
      endpoints   = { us-east-1 = "http://127.0.0.1:4566", eu-west-1 = "http://localhost:4567", ap-southeast-2 = "http://127.0.0.1:4568" }
      environment = { AWS_ENDPOINT_URL = "http://127.0.0.1:4566" }
    }
  }

  assert {
    condition = (
      aws_lambda_function.function["replicator"].environment[0].variables.MERIDIAN_ENDPOINTS == "ap-southeast-2=http://127.0.0.1:4568,eu-west-1=http://localhost:4567,us-east-1=http://127.0.0.1:4566" &&
      aws_lambda_function.function["replicator"].environment[0].variables.AWS_ENDPOINT_URL == "http://127.0.0.1:4566"
    )
    error_message = "the functions are not told of the emulator"
  }
  assert {
    condition     = contains(jsondecode(aws_dynamodb_resource_policy.events.policy).Statement[0].Action, "dynamodb:PutItem")
    error_message = "an emulator's events table allows puts, which can replace an event"
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_policy.writer.policy).Statement : statement if statement.Sid == "AppendToOwnLanes"] == [{
      Sid      = "AppendToOwnLanes"
      Effect   = "Allow"
      Action   = ["dynamodb:PartiQLInsert"]
      Resource = ["arn:aws:dynamodb:us-east-1:000000000000:table/meridian-events"]
      Condition = {
        "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["us-east-1#*"] }
      }
    }]
    error_message = "an emulator's writer may not insert under its own prefix, or may elsewhere"
  }
  assert {
    condition     = length(aws_cloudwatch_metric_alarm.alarm) == 0
    error_message = "there are alarms on an emulator, which cannot keep them"
  }
}

# Made with the mocked provider, so that what one thing says of another is known.
run "wiring" {
  module {
    source = "./modules/region"
  }
  variables {
    external       = { transformation = "shop.external:Orders" }
    personal_data  = { key = "mrk-1234abcd12ab34cd56ef1234567890ab" }
    api            = { enabled = true }
    protect_events = false
    projections    = ["shop.views:Orders"]
    alarms         = { page = { emails = ["on-call@example.com"] }, ticket = { topic_arn = "arn:aws:sns:us-east-1:123456789012:ours" } }
  }
  override_resource {
    target = aws_sns_topic.alarms["page"]
    values = { arn = "arn:aws:sns:us-east-1:123456789012:meridian-page" }
  }
  override_resource {
    target = aws_kinesis_stream.bus
    values = { arn = "arn:aws:kinesis:us-east-1:123456789012:stream/bus" }
  }
  override_resource {
    target = aws_kinesis_stream.external
    values = { arn = "arn:aws:kinesis:us-east-1:123456789012:stream/external" }
  }
  override_resource {
    target = aws_sqs_queue.dead_letters
    values = { arn = "arn:aws:sqs:us-east-1:123456789012:meridian-dead-letters" }
  }
  override_resource {
    target = aws_sqs_queue.failed_batches
    values = { arn = "arn:aws:sqs:us-east-1:123456789012:meridian-failed-batches" }
  }

  assert {
    condition = { for name, alarm in aws_cloudwatch_metric_alarm.alarm : name => one(alarm.alarm_actions) if length(alarm.alarm_actions) > 0 } == {
      dead-letters        = "arn:aws:sns:us-east-1:123456789012:ours"
      events-changed      = "arn:aws:sns:us-east-1:123456789012:meridian-page"
      projection-failures = "arn:aws:sns:us-east-1:123456789012:ours"
      quarantine          = "arn:aws:sns:us-east-1:123456789012:meridian-page"
      throttles-control   = "arn:aws:sns:us-east-1:123456789012:ours"
      throttles-events    = "arn:aws:sns:us-east-1:123456789012:ours"
      throttles-keys      = "arn:aws:sns:us-east-1:123456789012:ours"
      throttles-views     = "arn:aws:sns:us-east-1:123456789012:ours"
    }
    error_message = "an alarm goes to another topic than its severity's, or one that is part of another has an action"
  }
  assert {
    condition = alltrue([
      for alarm in values(aws_cloudwatch_composite_alarm.alarm) : alarm.alarm_actions == toset(["arn:aws:sns:us-east-1:123456789012:meridian-page"]) && alarm.ok_actions == alarm.alarm_actions
    ])
    error_message = "a composite alarm does not page"
  }
  assert {
    condition     = toset(flatten([for alarm in values(aws_cloudwatch_composite_alarm.alarm) : regexall("ALARM\\(\"meridian-([a-z0-9-]+)\"\\)", alarm.alarm_rule)])) == toset([for name, alarm in aws_cloudwatch_metric_alarm.alarm : name if length(alarm.alarm_actions) == 0])
    error_message = "an alarm neither pages nor is part of one that does, or a part is not there"
  }
  assert {
    condition     = length(aws_sns_topic.alarms) == 1 && aws_sns_topic.alarms["page"].kms_master_key_id == null
    error_message = "a topic is made where one was given, or needs the key that an alarm may be about"
  }
  assert {
    condition     = alltrue([for alarm in concat(values(aws_cloudwatch_metric_alarm.alarm)[*].alarm_description, values(aws_cloudwatch_composite_alarm.alarm)[*].alarm_description) : length(alarm) > 60])
    error_message = "an alarm does not say what to do"
  }
  assert {
    condition     = aws_sns_topic_subscription.email["page on-call@example.com"].topic_arn == aws_sns_topic.alarms["page"].arn
    error_message = "the address is not subscribed to the alarms"
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.alarm["replication-lag-eu-west-1"].metric_name == "ReplicationLag" &&
      aws_cloudwatch_metric_alarm.alarm["replication-lag-eu-west-1"].namespace == "Meridian" &&
      aws_cloudwatch_metric_alarm.alarm["replication-lag-eu-west-1"].dimensions == tomap({ region = "us-east-1", link = "us-east-1>eu-west-1" }) &&
      aws_cloudwatch_metric_alarm.alarm["replication-lag-eu-west-1"].threshold == 60000 &&
      aws_cloudwatch_metric_alarm.alarm["replication-lag-eu-west-1"].treat_missing_data == "notBreaching"
    )
    error_message = "the alarm on lag does not look at the link's lag"
  }
  assert {
    condition = (
      aws_cloudwatch_metric_alarm.alarm["quarantine"].metric_name == "Quarantined" && aws_cloudwatch_metric_alarm.alarm["quarantine"].threshold == 0 &&
      aws_cloudwatch_metric_alarm.alarm["quarantine"].treat_missing_data == "ignore"
    )
    error_message = "the alarm on quarantine does not stay until an explicit 0"
  }
  assert {
    condition = (
      aws_lambda_permission.heartbeat.source_arn == "arn:aws:events:us-east-1:123456789012:rule/meridian-heartbeat" && aws_lambda_permission.heartbeat.principal == "events.amazonaws.com" &&
      aws_cloudwatch_event_rule.heartbeat.schedule_expression == "rate(1 minute)" && aws_cloudwatch_event_target.heartbeat.rule == "meridian-heartbeat"
    )
    error_message = "the heartbeat is not called every minute, or by another than its rule"
  }
  assert {
    condition = alltrue([
      for queue in concat(values(aws_sqs_queue.backlog), [aws_sqs_queue.failed_batches]) :
      jsondecode(queue.redrive_policy) == { deadLetterTargetArn = aws_sqs_queue.dead_letters.arn, maxReceiveCount = 10 }
    ])
    error_message = "a queue does not lead to the dead letters"
  }
  assert {
    condition = alltrue([
      for mapping in values(aws_lambda_event_source_mapping.stream) :
      mapping.destination_config[0].on_failure[0].destination_arn == aws_sqs_queue.failed_batches.arn && mapping.event_source_arn == aws_dynamodb_table.unprotected_events[0].stream_arn
    ])
    error_message = "failed batches of the stream are not noted"
  }
  assert {
    condition = (
      aws_lambda_event_source_mapping.bus[0].event_source_arn == "arn:aws:kinesis:us-east-1:123456789012:stream/bus" &&
      aws_kinesis_resource_policy.bus[0].resource_arn == "arn:aws:kinesis:us-east-1:123456789012:stream/bus" &&
      output.external_stream_arn == "arn:aws:kinesis:us-east-1:123456789012:stream/external"
    )
    error_message = "the bus and the stream of external events are mixed up"
  }
  assert {
    condition     = alltrue([for stream in [aws_kinesis_stream.bus[0], aws_kinesis_stream.external[0]] : stream.kms_key_id == aws_kms_key.unprotected[0].arn]) && aws_dynamodb_table.keys[0].server_side_encryption[0].kms_key_arn == aws_kms_key.unprotected[0].arn
    error_message = "a stream or the keys are not encrypted with the region's key"
  }
  assert {
    condition     = output.api_url == aws_lambda_function_url.api[0].function_url && aws_lambda_function_url.api[0].function_name == "meridian-api"
    error_message = "the URL is not the API's"
  }
  assert {
    condition = alltrue([
      for queue in concat(values(aws_sqs_queue.backlog), [aws_sqs_queue.failed_batches, aws_sqs_queue.dead_letters]) :
      queue.kms_master_key_id == aws_kms_key.unprotected[0].arn
    ])
    error_message = "a queue is not encrypted with the region's key"
  }
}
