output "tables" {
  description = "Name and ARN of each table: events, control, views, and keys where personal data is on."
  value       = module.region.tables
}

output "events_stream_arn" {
  description = "ARN of the events table's DynamoDB stream. It bears two readers, and both are taken: the replicator and the projector."
  value       = module.region.events_stream_arn
}

output "queue_urls" {
  description = "URL of each queue: `backlog-<peer>`, `backlog-views`, `dead-letters`, `failed-batches`."
  value       = module.region.queue_urls
}

output "alarm_topic_arns" {
  description = "ARN of the SNS topic of each severity: `page` for what has to wake somebody, `ticket` for what can wait for the morning."
  value       = module.region.alarm_topic_arns
}

output "bus_arn" {
  description = "ARN of the event bus, or null where it is off."
  value       = module.region.bus_arn
}

output "external_stream_arn" {
  description = "ARN of the stream of external events, or null where it is off."
  value       = module.region.external_stream_arn
}

output "consumer_policy_arn" {
  description = "ARN of the policy for consumers of external events in this region, or null where they are off."
  value       = module.region.consumer_policy_arn
}

output "api_url" {
  description = "URL of the HTTP API, or null where it is off. Requests must be signed (AWS Signature Version 4, service `lambda`)."
  value       = module.region.api_url
}

output "caller_policy_arn" {
  description = "ARN of the policy for callers of the HTTP API in this region, or null where it is off."
  value       = module.region.caller_policy_arn
}

output "key_arn" {
  description = "ARN of the region's KMS key. Consumers of the event bus need kms:Decrypt on it."
  value       = module.region.key_arn
}

output "key_policy" {
  description = "Policy of the region's KMS key, as JSON: what a key of yours (`kms_key`) must allow. It is known before the key is."
  value       = module.region.key_policy
}

output "functions" {
  description = "Name of each function by its short name."
  value       = module.region.functions
}

output "writer_policy_arn" {
  description = "ARN of the policy for applications that append events in this region."
  value       = module.region.writer_policy_arn
}

output "reader_policy_arn" {
  description = "ARN of the policy for applications that read events and views in this region."
  value       = module.region.reader_policy_arn
}

output "operator_policy_arn" {
  description = "ARN of the policy for operators in this region; whoever runs failovers, comparisons and repairs attaches every region's."
  value       = module.region.operator_policy_arn
}

output "oncall_policy_arn" {
  description = "ARN of the policy for whoever is on call in this region: the operators' rights, dead letters, backlogs and views. Attach every region's."
  value       = module.region.oncall_policy_arn
}

output "worker_policy_arn" {
  description = "ARN of the policy for workers in this region (`replicator run`, `replicator publish`, `projectors run`), in place of the functions."
  value       = module.region.worker_policy_arn
}

output "writer_role_arn" {
  description = "ARN of the role for writers, or null where `writer_principals` names nobody."
  value       = module.region.writer_role_arn
}

output "environment" {
  description = "The environment variables that an application in this region needs."
  value       = module.region.environment
}

output "dashboard" {
  description = "Name of the region's CloudWatch dashboard."
  value       = module.region.dashboard
}
