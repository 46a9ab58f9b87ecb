# What cannot be copied or projected now waits as pointers in a backlog: one for each peer, one for the views. Stream
# batches that failed for good are noted in `failed-batches`. What failed ten times there goes to the dead letters, and
# waits for a person.

locals {
  retention_seconds  = 14 * 24 * 3600
  visibility_seconds = 6 * var.function.timeout_seconds # AWS advises six times the function's time-out
  backlogs           = toset(concat(local.peers, ["views"]))

  # Part of each queue, not a resource of its own: the provider waits half a minute for every change of a queue. An
  # emulator is reached by plain HTTP, so there it is left out.
  queue_policies = {
    for queue, arn in local.queue_arns : queue => local.emulator ? null : jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Sid       = "DenyInsecureTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "sqs:*"
        Resource  = arn
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      }]
    })
  }
}

resource "aws_sqs_queue" "dead_letters" {
  name                       = local.queues["dead-letters"]
  message_retention_seconds  = local.retention_seconds
  visibility_timeout_seconds = local.visibility_seconds
  kms_master_key_id          = local.key_arn
  policy                     = local.queue_policies["dead-letters"]
  tags                       = local.tags
}

resource "aws_sqs_queue" "failed_batches" {
  name                       = local.queues["failed-batches"]
  message_retention_seconds  = local.retention_seconds
  visibility_timeout_seconds = local.visibility_seconds
  kms_master_key_id          = local.key_arn
  policy                     = local.queue_policies["failed-batches"]
  tags                       = local.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = var.mapping.max_receives
  })
}

resource "aws_sqs_queue" "backlog" {
  for_each = local.backlogs

  name                       = local.queues["backlog-${each.key}"]
  message_retention_seconds  = local.retention_seconds
  visibility_timeout_seconds = local.visibility_seconds
  kms_master_key_id          = local.key_arn
  policy                     = local.queue_policies["backlog-${each.key}"]
  tags                       = local.tags

  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letters.arn
    maxReceiveCount     = var.mapping.max_receives
  })
}

locals {
  made_queues = merge(
    { for name, queue in aws_sqs_queue.backlog : "backlog-${name}" => queue },
    { dead-letters = aws_sqs_queue.dead_letters, failed-batches = aws_sqs_queue.failed_batches },
  )
}
