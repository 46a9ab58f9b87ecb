locals {
  # One row a line: title, metrics, statistic. Two widgets side by side.
  widgets = concat([
    { title = "Replication lag (ms)", stat = "Maximum", metrics = [
      for link in values(local.links) : [local.namespace, "ReplicationLag", "region", var.region, "link", link, { label = link }]
    ] },
    { title = "Age of the newest heartbeat of each peer (s)", stat = "Maximum", metrics = [
      for peer in local.peers : [local.namespace, "HeartbeatAge", "region", var.region, "link", "${peer}>${var.region}", { label = peer }]
    ] },
    { title = "Events copied and deferred", stat = "Sum", metrics = flatten([
      for link in values(local.links) : [
        for metric in ["EventsCopied", "EventsKnown", "EventsDeferred"] :
        { row = [local.namespace, metric, "region", var.region, "link", link, { label = "${link} ${metric}" }] }
      ]
    ])[*].row },
    { title = "Age of backlogs (s)", stat = "Maximum", metrics = [
      for link in values(local.links) : [local.namespace, "BacklogAge", "region", var.region, "link", link, { label = link }]
    ] },
    { title = "Depth of backlogs (messages)", stat = "Maximum", metrics = [
      for name in sort(tolist(local.backlogs)) : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", local.queues["backlog-${name}"], { label = name }]
    ] },
    { title = "Refused, changed, in quarantine", stat = "Maximum", metrics = [
      [local.namespace, "Quarantined", "region", var.region, { label = "in quarantine" }],
      [local.namespace, "EventsRefused", "region", var.region, { label = "refused", stat = "Sum" }],
      [local.namespace, "EventsChanged", "region", var.region, { label = "changed", stat = "Sum" }],
    ] },
    { title = "Dead letters and failed batches (messages)", stat = "Maximum", metrics = [
      for queue in ["dead-letters", "failed-batches"] : ["AWS/SQS", "ApproximateNumberOfMessagesVisible", "QueueName", local.queues[queue], { label = queue }]
    ] },
    { title = "How far readers are behind the stream (ms)", stat = "Maximum", metrics = [
      for name in local.stream_readers : ["AWS/Lambda", "IteratorAge", "FunctionName", local.functions[name].name, { label = name }]
    ] },
    { title = "Errors and throttles of functions", stat = "Sum", metrics = flatten([
      for name, function in local.functions : [
        for metric in ["Errors", "Throttles"] :
        { row = ["AWS/Lambda", metric, "FunctionName", function.name, { label = "${name} ${metric}" }] }
      ]
    ])[*].row },
    { title = "Duration of functions (ms, 99th percentile)", stat = "p99", metrics = [
      for name, function in local.functions : ["AWS/Lambda", "Duration", "FunctionName", function.name, { label = name }]
    ] },
    { title = "Throttled requests", stat = "Sum", metrics = concat(flatten([
      for table in ["events", "control", "views"] : [
        for metric in ["ReadThrottleEvents", "WriteThrottleEvents"] :
        { row = ["AWS/DynamoDB", metric, "TableName", local.tables[table], { label = "${table} ${metric}" }] }
      ]
    ])[*].row, [["AWS/DynamoDB", "WriteThrottleEvents", "TableName", local.tables.events, "GlobalSecondaryIndexName", local.lanes.name, { label = "${local.lanes.name} WriteThrottleEvents" }]]) },
    { title = "Consumed capacity (units)", stat = "Sum", metrics = flatten([
      for table in ["events", "control", "views"] : [
        for metric in ["ConsumedReadCapacityUnits", "ConsumedWriteCapacityUnits"] :
        { row = ["AWS/DynamoDB", metric, "TableName", local.tables[table], { label = "${table} ${metric}" }] }
      ]
    ])[*].row },
    { title = "Projection lag (ms)", stat = "Maximum", metrics = [
      [local.namespace, "ProjectionLag", "region", var.region, { label = var.region }],
    ] },
    { title = "Events projected, projection failures, conflicts merged", stat = "Sum", metrics = [
      for metric in ["EventsProjected", "ProjectionFailures", "ConflictsMerged"] : [local.namespace, metric, "region", var.region, { label = metric }]
    ] },
    { title = "Conflicts: what a rule has discarded", stat = "Sum", metrics = [
      [{ id = "discarded", expression = "SEARCH('{${local.namespace},projection,region,rule} region=\"${var.region}\" MetricName=\"ConflictsDiscarded\"', 'Sum')" }],
    ] },
    ], local.bus ? [
    { title = "Event bus: age of what is not on it yet (ms), and records that failed", stat = "Maximum", metrics = [
      for name, stat in { AgeOfOldestUnreplicatedRecord = "Maximum", FailedToReplicateRecordCount = "Sum" } :
      [{ id = lower(name), expression = "SEARCH('{AWS/DynamoDB,DelegatedOperation,TableName} TableName=\"${local.tables.events}\" MetricName=\"${name}\"', '${stat}')" }]
    ] },
    ] : [], local.external ? [
    { title = "External events: lag (ms)", stat = "Maximum", metrics = [
      [local.namespace, "PublishLag", "region", var.region, { label = var.region }],
    ] },
    { title = "External events published", stat = "Sum", metrics = [
      [local.namespace, "EventsPublished", "region", var.region, { label = var.region }],
    ] },
  ] : [])
}

resource "aws_cloudwatch_dashboard" "region" {
  dashboard_name = "${var.prefix}-${var.region}"

  dashboard_body = jsonencode({
    widgets = [
      for place, widget in local.widgets : {
        type   = "metric"
        x      = 12 * (place % 2)
        y      = 6 * floor(place / 2)
        width  = 12
        height = 6
        properties = {
          title   = widget.title
          region  = var.region
          stat    = widget.stat
          period  = 60
          view    = "timeSeries"
          metrics = widget.metrics
        }
      }
    ]
  })
}
