resource "aws_cloudwatch_log_group" "function" {
  for_each = local.functions

  name              = each.value.log_group
  retention_in_days = var.log_retention_days
  kms_key_id        = local.key_arn
  tags              = local.tags
}

resource "aws_lambda_function" "function" {
  #checkov:skip=CKV_AWS_50:The mode is function.tracing, PassThrough by default; checkov does not see defaults of optional attributes.
  #checkov:skip=CKV_AWS_115:Concurrency is bounded by the mappings (shards times parallelization, and maximum_concurrency) and by api.reserved_concurrency; function.reserved_concurrency sets it apart where an account is short of it.
  #checkov:skip=CKV_AWS_116:Only the heartbeat is invoked asynchronously, and one that is late is worth nothing; what fails elsewhere goes to the mappings' on-failure queue or the queues' dead letters.
  #checkov:skip=CKV_AWS_117:The functions talk to AWS APIs of several regions only; a VPC would add NAT gateways and guard nothing.
  #checkov:skip=CKV_AWS_272:The signing configuration is code_signing_config_arn: a signing profile belongs to the account that has one. Without, the package is reproducible and its hash is in the plan.
  for_each = local.functions

  function_name    = each.value.name
  description      = "Meridian ${var.prefix}: ${each.key}"
  role             = aws_iam_role.function[each.key].arn
  handler          = each.value.handler
  filename         = var.package
  source_code_hash = filebase64sha256(var.package)

  runtime                        = var.function.runtime
  architectures                  = [var.function.architecture]
  memory_size                    = each.value.memory
  timeout                        = each.value.timeout
  reserved_concurrent_executions = each.value.concurrency
  kms_key_arn                    = local.key_arn
  code_signing_config_arn        = var.code_signing_config_arn
  tags                           = local.tags

  environment {
    variables = merge(
      local.environment,
      {
        MERIDIAN_LOG = var.log_level
      },
      local.external_environment,
      { for name, value in local.role_environments.copy : name => value if contains(local.copies, each.key) },
      { for name, value in local.role_environments.read : name => value if contains(local.asks_peers, each.key) },
      { for name, value in { MERIDIAN_PROJECTIONS = join(",", var.projections) } : name => value if each.value.projects },
      { for name, value in local.claims_environment : name => value if startswith(each.key, "projector") },
      { for name, value in local.append_environment : name => value if contains(local.appends, each.key) },
      { for name, value in local.personal_environment : name => value if each.value.projects },
      try(var.emulator.environment, {}),
    )
  }

  tracing_config {
    mode = var.function.tracing
  }

  # The roles may not create log groups, so the group comes first. With their policies there, the first call succeeds.
  depends_on = [aws_cloudwatch_log_group.function, aws_iam_role_policy.function, aws_iam_role_policy.kms]
}

# The stream bears two readers: the replicator and the projector. A batch that fails for good is noted in failed-batches
# with its shard and sequence numbers, and the lanes in it are redriven from there.
resource "aws_lambda_event_source_mapping" "stream" {
  for_each = local.stream_readers

  function_name                      = aws_lambda_function.function[each.key].arn
  event_source_arn                   = local.events.stream_arn
  starting_position                  = "TRIM_HORIZON"
  batch_size                         = var.mapping.batch_size
  maximum_batching_window_in_seconds = var.mapping.window_seconds
  parallelization_factor             = var.mapping.parallelization
  function_response_types            = ["ReportBatchItemFailures"]
  tags                               = local.tags
  bisect_batch_on_function_error     = var.mapping.bisect
  maximum_retry_attempts             = var.mapping.retries
  maximum_record_age_in_seconds      = var.mapping.record_age_seconds

  dynamic "filter_criteria" {
    for_each = local.stream_filters[each.key]
    content {
      dynamic "filter" {
        for_each = filter_criteria.value
        content {
          pattern = jsonencode(filter.value)
        }
      }
    }
  }

  destination_config {
    on_failure {
      destination_arn = aws_sqs_queue.failed_batches.arn
    }
  }
}

resource "aws_lambda_event_source_mapping" "backlog" {
  for_each = var.peers

  function_name           = aws_lambda_function.function["catch-up"].arn
  event_source_arn        = aws_sqs_queue.backlog[each.key].arn
  batch_size              = var.mapping.catch_up_batch_size
  function_response_types = ["ReportBatchItemFailures"]
  tags                    = local.tags

  scaling_config {
    maximum_concurrency = var.mapping.catch_up_concurrency
  }
}

resource "aws_lambda_event_source_mapping" "backlog_views" {
  count = local.projects ? 1 : 0

  function_name           = aws_lambda_function.function["projector-catch-up"].arn
  event_source_arn        = aws_sqs_queue.backlog["views"].arn
  batch_size              = var.mapping.catch_up_batch_size
  function_response_types = ["ReportBatchItemFailures"]
  tags                    = local.tags

  scaling_config {
    maximum_concurrency = var.mapping.catch_up_concurrency
  }
}

resource "aws_lambda_event_source_mapping" "failed_batches" {
  function_name           = aws_lambda_function.function["redrive"].arn
  event_source_arn        = aws_sqs_queue.failed_batches.arn
  batch_size              = 1
  function_response_types = ["ReportBatchItemFailures"]
  tags                    = local.tags

  # One pass over the lanes serves every batch that failed before it; many at once would make the same one.
  scaling_config {
    maximum_concurrency = 2
  }
}
