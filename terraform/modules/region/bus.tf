# The event bus, for consumers outside Meridian. DynamoDB feeds it; no code of ours is in between, and it takes none of
# the stream's two readers.

resource "aws_kinesis_stream" "bus" {
  count = var.bus.enabled ? 1 : 0

  name             = local.streams.bus
  retention_period = var.bus.retention_hours
  encryption_type  = "KMS"
  kms_key_id       = local.key_arn

  stream_mode_details {
    stream_mode = "ON_DEMAND"
  }
}

resource "aws_dynamodb_kinesis_streaming_destination" "bus" {
  count = var.bus.enabled ? 1 : 0

  table_name = local.events.name
  stream_arn = aws_kinesis_stream.bus[0].arn
}
