output "tables" {
  description = "Name and ARN of each table: events, control, views, and keys where personal data is on."
  value = merge({
    events  = { name = local.events.name, arn = local.events.arn }
    control = { name = local.control.name, arn = local.control.arn }
    views   = { name = aws_dynamodb_table.views.name, arn = aws_dynamodb_table.views.arn }
  }, { for table in aws_dynamodb_table.keys : "keys" => { name = table.name, arn = table.arn } })
}

output "events_stream_arn" {
  description = "ARN of the events table's DynamoDB stream."
  value       = local.events.stream_arn
}

output "queue_urls" {
  description = "URL of each queue: `backlog-<peer>`, `backlog-views`, `dead-letters`, `failed-batches`."
  value       = { for name, queue in local.made_queues : name => queue.url }
}

output "alarm_topic_arns" {
  description = "ARN of the SNS topic of each severity: `page` for what has to wake somebody, `ticket` for what can wait for the morning."
  value       = local.topic_arns
}

output "bus_arn" {
  description = "ARN of the event bus, or null where it is off."
  value       = one(aws_kinesis_stream.bus[*].arn)
}

output "external_stream_arn" {
  description = "ARN of the stream of external events, or null where it is off."
  value       = one(aws_kinesis_stream.external[*].arn)
}

output "consumer_policy_arn" {
  description = "ARN of the policy for consumers of external events in this region, or null where they are off."
  value       = one(aws_iam_policy.consumer[*].arn)
}

output "api_url" {
  description = "URL of the HTTP API, or null where it is off."
  value       = one(aws_lambda_function_url.api[*].function_url)
}

output "caller_policy_arn" {
  description = "ARN of the policy for callers of the HTTP API in this region, or null where it is off."
  value       = one(aws_iam_policy.caller[*].arn)
}

output "key_arn" {
  description = "ARN of the region's KMS key."
  value       = local.key_arn
}

output "key_policy" {
  description = "Policy of the region's KMS key, as JSON: what a key of yours (`kms_key`) must allow. It is known before the key is."
  value       = local.key.policy
}

output "functions" {
  description = "Name of each function by its short name."
  value       = { for name, function in aws_lambda_function.function : name => function.function_name }
}

output "writer_policy_arn" {
  description = "ARN of the policy for applications that append events in this region."
  value       = aws_iam_policy.writer.arn
}

output "reader_policy_arn" {
  description = "ARN of the policy for applications that read events and views in this region."
  value       = aws_iam_policy.reader.arn
}

output "operator_policy_arn" {
  description = "ARN of the policy for operators in this region; whoever runs failovers, comparisons and repairs attaches every region's."
  value       = aws_iam_policy.operator.arn
}

output "oncall_policy_arn" {
  description = "ARN of the policy for whoever is on call in this region: the operators' rights, dead letters, backlogs and views. Attach every region's."
  value       = aws_iam_policy.oncall.arn
}

output "worker_policy_arn" {
  description = "ARN of the policy for workers in this region (`replicator run`, `replicator publish`, `projectors run`), in place of the functions."
  value       = aws_iam_policy.worker.arn
}

output "writer_role_arn" {
  description = "ARN of the role for writers, or null where nobody may assume it."
  value       = one(aws_iam_role.writer[*].arn)
}

output "environment" {
  description = "The environment variables that an application in this region needs."
  value       = merge(local.environment, local.append_environment, local.personal_environment, local.role_environments.read)
}

output "dashboard" {
  description = "Name of the region's CloudWatch dashboard."
  value       = aws_cloudwatch_dashboard.region.dashboard_name
}
