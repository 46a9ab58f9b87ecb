# Every alarm says what it means and what to do. What wakes somebody goes to the topic `page`, what can wait for the morning to
# `ticket`. Alarms that one failure sets off together are parts of a composite alarm, which pages once; they have no actions of
# their own. Names bear no region: alarms are regional.

locals {
  namespace = "Meridian"
  links     = { for peer in local.peers : peer => "${var.region}>${peer}" }

  # The last resort of a reader that is behind, and its price: docs/decisions/0035-memory-is-a-hint.md.
  more_batches = "If it is only busy, mapping.parallelization gives it more batches at once; order is kept for each item's key alone, so events of one lane then go to concurrent batches, which wait for each other."

  # The common shape: the largest value in each minute, three minutes of five. `missing` is what silence means.
  usual = { statistic = "Maximum", comparison = "GreaterThanThreshold", period = 60, evaluate = 5, breach = 3, missing = "notBreaching", expression = null, severity = "page" }

  # A heartbeat comes every minute, so that whoever reads the stream is invoked every minute. Three minutes of silence in a row
  # are an answer, too; before them CloudWatch counts older values.
  silent = merge(local.usual, { evaluate = 3, breach = 3, missing = "breaching" })

  throttled = {
    events  = "Appends and copies wait: look for a lane that is too hot."
    control = "Backlogs, quarantine, fences and checkpoints wait: look for a runbook or many workers at once."
    views   = "Views wait: look for a stream or a row that is too hot, or a rebuild."
    keys    = "Personal data waits to be protected and revealed: look for a subject that is too hot."
  }

  alarm_of = merge(
    {
      for peer, link in local.links : "replication-lag-${peer}" => merge(local.usual, {
        namespace   = local.namespace
        metric      = "ReplicationLag"
        dimensions  = { region = var.region, link = link }
        threshold   = var.thresholds.lag_seconds * 1000
        description = "Events of ${var.region} reach ${peer} more than ${var.thresholds.lag_seconds} s after they were written. Look at the replicator's errors and throttles here, and at ${peer}; nothing is lost, what cannot be copied waits."
      })
    },
    {
      for peer in local.peers : "heartbeat-${peer}" => merge(local.usual, {
        namespace   = local.namespace
        metric      = "HeartbeatAge"
        dimensions  = { region = var.region, link = "${peer}>${var.region}" }
        threshold   = var.thresholds.heartbeat_seconds
        evaluate    = 3
        breach      = 2
        missing     = "ignore" # nobody measures it: that is the alarm no-heartbeat
        description = "No heartbeat of ${peer} has arrived for more than ${var.thresholds.heartbeat_seconds} s, though one is written there every minute: ${peer} is down, its replicator does not run or may not copy, or the link is dead. Look at the alarms there, and at `replicator status`. A peer that was never deployed goes off an hour after this region knows of it."
      })
    },
    {
      no-heartbeat = merge(local.silent, {
        namespace   = local.namespace
        metric      = "Heartbeats"
        dimensions  = { region = var.region }
        statistic   = "Sum"
        comparison  = "LessThanThreshold"
        threshold   = 1
        description = "${var.region} writes no heartbeats: ${var.prefix}-heartbeat does not run, or may not append, or the region's tables or key cannot be used, or cannot read a peer's, or the region has to be brought up, or a runbook was left half-way (replicator status). Nobody measures meanwhile whether its peers are heard."
      })
    },
    {
      for peer, link in local.links : "backlog-age-${peer}" => merge(local.usual, {
        namespace   = local.namespace
        metric      = "BacklogAge"
        dimensions  = { region = var.region, link = link }
        threshold   = var.thresholds.backlog_age_seconds
        description = "Events for ${peer} have waited in the backlog for more than ${var.thresholds.backlog_age_seconds} s: ${peer} is down, slow or throttled. When it is back the backlog empties by itself; if it does not, look at the log of ${var.prefix}-catch-up."
      })
    },
    {
      for peer in concat(local.peers, [for name in ["views"] : name if local.projects]) : "backlog-stuck-${peer}" => merge(local.usual, {
        namespace   = "AWS/SQS"
        metric      = "ApproximateAgeOfOldestMessage"
        dimensions  = { QueueName = local.queues["backlog-${peer}"] }
        threshold   = var.thresholds.backlog_stuck_seconds
        description = "A message has been in the backlog of ${peer} for more than ${var.thresholds.backlog_stuck_seconds} s: nobody consumes it, or it fails each time. Check that the event source mapping is enabled and that the catch-up function runs."
      })
    },
    {
      quarantine = merge(local.usual, {
        namespace   = local.namespace
        metric      = "Quarantined"
        dimensions  = { region = var.region }
        threshold   = 0
        evaluate    = 1
        breach      = 1
        missing     = "ignore" # stays until an explicit 0
        description = "An event was refused: a fork, a forged or damaged event, or one that a projection cannot process or a rule for external events cannot publish. It was not applied; compare the digests in quarantine, and repair the lane or correct the projection or rule. The alarm stays until quarantine is empty."
      })
      events-changed = merge(local.usual, {
        namespace   = local.namespace
        metric      = "EventsChanged"
        dimensions  = { region = var.region }
        statistic   = "Sum"
        threshold   = 0
        evaluate    = 1
        breach      = 1
        missing     = "ignore" # stays until somebody has looked into it
        description = "Somebody modified or removed an event in ${var.region}. That takes removing the table's policy first: find out who did, put the policy back with an apply. It was not copied, and every peer still has the original. The alarm stays until you reset it: aws cloudwatch set-alarm-state --alarm-name ${var.prefix}-events-changed --state-value OK --state-reason …"
      })
      dead-letters = merge(local.usual, {
        namespace   = "AWS/SQS"
        metric      = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = local.queues["dead-letters"] }
        threshold   = 0
        evaluate    = 1
        breach      = 1
        severity    = "ticket"
        description = "Something failed for good and waits in ${local.queues["dead-letters"]} with its key and error. Fix the cause, then replay the queue; messages are kept for 14 days."
      })
      failed-batches = merge(local.usual, {
        namespace   = "AWS/SQS"
        metric      = "ApproximateNumberOfMessagesVisible"
        dimensions  = { QueueName = local.queues["failed-batches"] }
        threshold   = 0
        evaluate    = 15
        breach      = 15
        description = "Batches of the stream that failed for good have waited for 15 minutes to be redriven. Look at the log of ${var.prefix}-redrive; no event is lost, since lanes are read again from the table."
      })
    },
    {
      # Of metrics of DynamoDB, CloudWatch ignores missing data whatever an alarm says, and there are none while nothing is
      # throttled: FILL makes them zeros. docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/alarms-and-missing-data.html
      for table in concat(["events", "control"], [for table in ["views"] : table if local.projects], [for table in ["keys"] : table if local.personal]) : "throttles-${table}" => merge(local.usual, {
        namespace  = "AWS/DynamoDB"
        metric     = null
        expression = table == "events" ? "FILL(reads, 0) + FILL(writes, 0) + FILL(lanes_reads, 0) + FILL(lanes_writes, 0)" : "FILL(reads, 0) + FILL(writes, 0)"
        metrics = { for name, metric in { # a table's metrics leave its indexes out
          reads        = { name = "ReadThrottleEvents", dimensions = { TableName = local.tables[table] } }
          writes       = { name = "WriteThrottleEvents", dimensions = { TableName = local.tables[table] } }
          lanes_reads  = { name = "ReadThrottleEvents", dimensions = { TableName = local.tables[table], GlobalSecondaryIndexName = local.lanes.name } }
          lanes_writes = { name = "WriteThrottleEvents", dimensions = { TableName = local.tables[table], GlobalSecondaryIndexName = local.lanes.name } }
        } : name => metric if !startswith(name, "lanes") || table == "events" }
        statistic   = "Sum"
        threshold   = var.thresholds.throttles_per_minute
        severity    = "ticket"
        description = "DynamoDB throttles requests to ${local.tables[table]}${table == "events" ? ", or to its index ${local.lanes.name}" : ""}. ${local.throttled[table]} Requests are tried again and slow down; if it lasts, raise the maxima in `tables`, where there are any, or the account's table limits."
      })
    },
    {
      for name, alarm in {
        projection-failures = merge(local.usual, {
          namespace   = local.namespace
          metric      = "ProjectionFailures"
          dimensions  = { region = var.region }
          statistic   = "Sum"
          threshold   = 0
          evaluate    = 1
          breach      = 1
          severity    = "ticket"
          description = "A projection could not take an event; its view stands still before that event, others continue. Find the event in quarantine or the dead letters, correct the projection, and replay."
        })
      } : name => alarm if local.projects
    },
    {
      for name, alarm in {
        publish-lag = merge(local.usual, {
          namespace   = local.namespace
          metric      = "PublishLag"
          dimensions  = { region = var.region }
          threshold   = var.thresholds.publish_lag_seconds * 1000
          description = "External events go out more than ${var.thresholds.publish_lag_seconds} s after they were written. Look at the log of ${var.prefix}-publish and at the throttles of ${local.streams.external}; nothing is lost. It goes off as well while an outage is caught up with."
        })
        iterator-age-publish = merge(local.silent, {
          namespace   = "AWS/Lambda"
          metric      = "IteratorAge"
          dimensions  = { FunctionName = "${var.prefix}-publish" }
          threshold   = var.thresholds.iterator_age_seconds * 1000
          description = "The publisher reads the bus more than ${var.thresholds.iterator_age_seconds} s behind, or not at all: then look whether its event source mapping is enabled and it may read the bus. Look at its errors, its throttles, and its duration: a throttled stream of external events (publish-lag) or too little memory (function.memory_mb) makes it slow. ${local.more_batches} The bus keeps ${var.bus.retention_hours} hours, and what it drops goes out with the next event of its lane."
        })
      } : name => alarm if local.external
    },
    {
      for name, alarm in {
        bus-age = merge(local.usual, {
          # The metric has a second dimension, whose value AWS does not document, so a query names the table alone.
          # docs.aws.amazon.com/amazondynamodb/latest/developerguide/metrics-dimensions.html#AgeOfOldestUnreplicatedRecord
          metric      = null
          expression  = "SELECT MAX(AgeOfOldestUnreplicatedRecord) FROM SCHEMA(\"AWS/DynamoDB\", DelegatedOperation, TableName) WHERE TableName = '${local.tables.events}'"
          metrics     = {}
          threshold   = var.thresholds.bus_age_seconds * 1000
          severity    = "ticket"
          description = "DynamoDB has not put events on the bus ${local.streams.bus} for more than ${var.thresholds.bus_age_seconds} s; normally it takes milliseconds. Look at whether the stream throttles writes, whether somebody changed its policy or its key, and at FailedToReplicateRecordCount of ${local.tables.events}. Replication to peers does not take this way.${local.external ? " An event that never reaches the bus is published with the next event of its lane." : ""}"
        })
      } : name => alarm if local.bus
    },
    {
      for name in local.stream_readers : "iterator-age-${name}" => merge(local.silent, {
        namespace   = "AWS/Lambda"
        metric      = "IteratorAge"
        dimensions  = { FunctionName = local.functions[name].name }
        threshold   = var.thresholds.iterator_age_seconds * 1000
        description = "The ${name} reads the stream more than ${var.thresholds.iterator_age_seconds} s behind, or not at all: then look whether its event source mapping is enabled and it may read the stream. Look at its errors, its throttles, and its duration: ${name == "replicator" ? "a slow peer (replication-lag, backlog-age)" : "throttled views"} or too little memory (function.memory_mb) makes it slow. ${local.more_batches} The stream keeps 24 hours."
      })
    },
    {
      for name, function in local.functions : "errors-${name}" => merge(local.usual, {
        namespace   = "AWS/Lambda"
        metric      = "Errors"
        dimensions  = { FunctionName = function.name }
        statistic   = "Sum"
        threshold   = 0
        description = "The function ${function.name} keeps failing. Its log says why; ${name == "api" ? "those who called it got an error and know nothing of their request's outcome, and may repeat it" : "the work is tried again until it succeeds or is noted in failed-batches or dead-letters"}."
      })
    },
    {
      for name, function in local.functions : "throttled-${name}" => merge(local.usual, {
        namespace   = "AWS/Lambda"
        metric      = "Throttles"
        dimensions  = { FunctionName = function.name }
        statistic   = "Sum"
        threshold   = 0
        description = "The function ${function.name} is not given enough concurrency. Raise ${name == "api" ? "api" : "function"}.reserved_concurrency, or the account's limit."
      })
    },
  )
}

# What one failure sets off together. A part of it has no actions.
locals {
  alarms_of = { for name in keys(local.functions) : name => ["errors-${name}", "throttled-${name}"] }

  composite_of = merge(
    {
      for peer in local.peers : "peer-${peer}" => {
        parts       = ["heartbeat-${peer}", "replication-lag-${peer}", "backlog-age-${peer}", "backlog-stuck-${peer}"]
        description = "${peer} does not take this region's events in time, or this region does not get its own. Look at which parts are in alarm, and at `replicator status`: heartbeat-${peer} alone is the way from there to here. If ${peer} is down for long, fail over: docs/runbooks.md."
      }
    },
    {
      heartbeat = {
        parts       = concat(["no-heartbeat"], local.alarms_of["heartbeat"])
        description = "${var.region} writes no heartbeats, and does not measure whether its peers are heard. Look at the log of ${var.prefix}-heartbeat."
      }
      replicator = {
        parts       = concat(["iterator-age-replicator", "failed-batches"], local.alarms_of["replicator"], local.alarms_of["catch-up"], local.alarms_of["redrive"])
        description = "${var.region} does not copy its events as it should: its replicator, or what catches up for it, is silent, behind, failing or throttled. Look at which parts are in alarm. Nothing is lost; what waits longer than a day is compared lane by lane."
      }
    },
    {
      for name, alarm in {
        projector = {
          parts       = concat(["iterator-age-projector", "backlog-stuck-views"], try(local.alarms_of["projector"], []), try(local.alarms_of["projector-catch-up"], []))
          description = "Views in ${var.region} stand still or are late: the projector, or what catches up for it, is silent, behind, failing or throttled. Look at which parts are in alarm. No event is lost."
        }
      } : name => alarm if local.projects
    },
    {
      for name, alarm in {
        publisher = {
          parts       = concat(["publish-lag", "iterator-age-publish", "bus-age"], try(local.alarms_of["publish"], []))
          description = "External events of ${var.region} go out late, or not at all. Look at which parts are in alarm. No event is lost."
        }
      } : name => alarm if local.external
    },
    {
      for name, alarm in {
        api = {
          parts       = try(local.alarms_of["api"], [])
          description = "The HTTP API in ${var.region} fails or is throttled. Look at the log of ${var.prefix}-api."
        }
      } : name => alarm if local.api
    },
  )

  alarm_parts = toset(flatten([for composite in values(local.composite_of) : composite.parts]))
}

# Not encrypted by the region's key: an alarm that the key cannot be used would not go out. CloudWatch may not use SNS's own key.
# Alarms hold names and numbers, no event. A topic of your own can have a key of its own.
resource "aws_sns_topic" "alarms" {
  #checkov:skip=CKV_AWS_26:An alarm about the region's key must not need that key; alarms hold names and numbers only.
  for_each = local.made_topics

  name = each.value
  tags = local.tags
}

resource "aws_sns_topic_policy" "alarms" {
  for_each = local.made_topics

  arn = aws_sns_topic.alarms[each.key].arn

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      for statement in [
        {
          Sid       = "AlarmsPublish"
          Effect    = "Allow"
          Principal = { Service = "cloudwatch.amazonaws.com" }
          Action    = "sns:Publish"
          Resource  = local.topic_arns[each.key]
          Condition = { StringEquals = { "aws:SourceAccount" = local.account } }
        },
        {
          Sid       = "DenyInsecureTransport"
          Effect    = "Deny"
          Principal = "*"
          Action    = "sns:Publish"
          Resource  = local.topic_arns[each.key]
          Condition = { Bool = { "aws:SecureTransport" = "false" } }
        },
      ] : statement if statement.Effect == "Allow" || !local.emulator
    ]
  })
}

resource "aws_sns_topic_subscription" "email" {
  for_each = merge([
    for severity in keys(local.made_topics) : {
      for address in var.alarms[severity].emails : "${severity} ${address}" => { severity = severity, address = address }
    }
  ]...)

  topic_arn = aws_sns_topic.alarms[each.value.severity].arn
  protocol  = "email"
  endpoint  = each.value.address
}

# None on an emulator. MiniStack describes alarms without half of their settings in the protocol that provider 5 speaks, so
# every plan would set them again; and it takes no metrics out of logs, so none of Meridian's own would ever go off.
resource "aws_cloudwatch_metric_alarm" "alarm" {
  for_each = { for name, alarm in local.alarm_of : name => alarm if !local.emulator }

  alarm_name          = "${var.prefix}-${each.key}"
  tags                = local.tags
  alarm_description   = each.value.description
  namespace           = each.value.expression == null ? each.value.namespace : null
  metric_name         = each.value.metric
  dimensions          = each.value.expression == null ? each.value.dimensions : null
  statistic           = each.value.expression == null ? each.value.statistic : null
  period              = each.value.expression == null ? each.value.period : null
  comparison_operator = each.value.comparison
  threshold           = each.value.threshold
  evaluation_periods  = each.value.evaluate
  datapoints_to_alarm = each.value.breach
  treat_missing_data  = each.value.missing
  alarm_actions       = contains(local.alarm_parts, each.key) ? [] : [local.topic_arns[each.value.severity]]
  ok_actions          = contains(local.alarm_parts, each.key) ? [] : [local.topic_arns[each.value.severity]]

  depends_on = [aws_sns_topic.alarms]

  dynamic "metric_query" {
    for_each = each.value.expression == null ? {} : { result = each.value.expression }
    content {
      id          = metric_query.key
      label       = each.key
      expression  = metric_query.value
      period      = length(each.value.metrics) == 0 ? each.value.period : null # a query has one of its own; mathematics has its metrics'
      return_data = true
    }
  }

  dynamic "metric_query" {
    for_each = each.value.expression == null ? {} : each.value.metrics
    content {
      id          = metric_query.key
      return_data = false

      metric {
        namespace   = each.value.namespace
        metric_name = metric_query.value.name
        dimensions  = metric_query.value.dimensions
        stat        = each.value.statistic
        period      = each.value.period
      }
    }
  }
}

resource "aws_cloudwatch_composite_alarm" "alarm" {
  for_each = { for name, composite in local.composite_of : name => composite if !local.emulator }

  alarm_name        = "${var.prefix}-${each.key}"
  tags              = local.tags
  alarm_description = each.value.description
  alarm_rule        = join(" OR ", [for part in each.value.parts : "ALARM(\"${var.prefix}-${part}\")"])
  alarm_actions     = [local.topic_arns["page"]]
  ok_actions        = [local.topic_arns["page"]]

  depends_on = [aws_cloudwatch_metric_alarm.alarm, aws_sns_topic.alarms]
}
