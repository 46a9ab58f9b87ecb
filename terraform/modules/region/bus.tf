# The event bus, for the publisher of external events and for consumers outside Meridian. DynamoDB feeds it; no code of ours
# is in between, and it takes none of the stream's two readers. An on-demand stream costs by the hour, read or not, so there
# is none unless somebody reads it.

locals {
  bus = coalesce(var.bus.enabled, local.external)
}

resource "aws_kinesis_stream" "bus" {
  count = local.bus ? 1 : 0

  name             = local.streams.bus
  retention_period = var.bus.retention_hours
  encryption_type  = "KMS"
  kms_key_id       = local.key_arn
  tags             = local.tags

  stream_mode_details {
    stream_mode = "ON_DEMAND"
  }
}

resource "aws_dynamodb_kinesis_streaming_destination" "bus" {
  count = local.bus ? 1 : 0

  table_name = local.events.name
  stream_arn = aws_kinesis_stream.bus[0].arn
}
