# External events: a stream for consumers outside, and the function that publishes to it what the bus carries.

resource "aws_kinesis_stream" "external" {
  count = local.external ? 1 : 0

  name             = local.streams.external
  retention_period = coalesce(var.external.retention_hours, var.bus.retention_hours)
  encryption_type  = "KMS"
  kms_key_id       = local.key_arn
  tags             = local.tags

  stream_mode_details {
    stream_mode = "ON_DEMAND"
  }
}

# Tried for as long as the bus keeps the records: a lane that cannot go on is in quarantine and holds up nothing, so what
# fails here is the region, and nothing may be given up.
resource "aws_lambda_event_source_mapping" "bus" {
  count = local.external ? 1 : 0

  function_name                      = aws_lambda_function.function["publish"].arn
  event_source_arn                   = aws_kinesis_stream.bus[0].arn
  starting_position                  = "TRIM_HORIZON"
  batch_size                         = var.mapping.batch_size
  maximum_batching_window_in_seconds = var.mapping.window_seconds
  parallelization_factor             = var.mapping.parallelization
  function_response_types            = ["ReportBatchItemFailures"]
  bisect_batch_on_function_error     = var.mapping.bisect
  maximum_retry_attempts             = -1
  maximum_record_age_in_seconds      = -1
  tags                               = local.tags
}

# The publisher believes what the bus says of a lane's next event, so only DynamoDB may write there, administrators included.
# DynamoDB writes with a role of its own that AWS makes in this account. It asks whoever switches the feed on to have
# kinesis:PutRecords as well, so the policy comes after that, and is made anew with it.
resource "aws_kinesis_resource_policy" "bus" {
  count = local.external ? 1 : 0

  resource_arn = aws_kinesis_stream.bus[0].arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "OnlyDynamoDBWrites"
      Effect    = "Deny"
      Principal = "*"
      Action    = ["kinesis:PutRecord", "kinesis:PutRecords"]
      Resource  = local.stream_arns.bus
      Condition = {
        ArnNotLike = { "aws:PrincipalArn" = "arn:${local.partition}:iam::${local.account}:role/aws-service-role/*.dynamodb.amazonaws.com/*" }
      }
    }]
  })

  depends_on = [aws_dynamodb_kinesis_streaming_destination.bus]

  lifecycle {
    replace_triggered_by = [aws_dynamodb_kinesis_streaming_destination.bus]
  }
}
