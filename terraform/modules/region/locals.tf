data "aws_partition" "current" {}

data "aws_caller_identity" "current" {
  lifecycle {
    postcondition {
      condition     = var.emulator == null || self.account_id == "000000000000"
      error_message = "Account ${self.account_id} is not an emulator's; leave `emulator` out on AWS."
    }
    postcondition {
      condition     = lookup(var.accounts, var.region, self.account_id) == self.account_id
      error_message = "The credentials are of account ${self.account_id}, and accounts.${var.region} is ${lookup(var.accounts, var.region, "")}; use credentials of that account, or correct `accounts`."
    }
  }
}

# Forms of names, for the validations.
locals {
  region_form    = "^[a-z]{2}(-[a-z]{2,12}){1,3}-[1-9][0-9]?$"
  class_form     = "^[A-Za-z_][A-Za-z0-9_]*(\\.[A-Za-z_][A-Za-z0-9_]*)*:[A-Za-z_][A-Za-z0-9_]*$"
  principal_form = "^arn:aws[a-z-]*:iam::[0-9]{12}:(root|(role|user)/[A-Za-z0-9_+=,.@/-]+)$"
  policy_form    = "^arn:aws[a-z-]*:iam::([0-9]{12}|aws):policy/[A-Za-z0-9_+=,.@/-]+$"
  path_form      = "^/([A-Za-z0-9._+@-]+/)*$"
  loopback_form  = "^http://(127\\.0\\.0\\.1|localhost):[1-9][0-9]{0,4}/?$"
}

# Names, and the ARNs that follow from them. ARNs are put together here, not taken from resources, so that every policy is
# known in full at plan: what will be allowed can be read, and tested, before anything is made.
locals {
  account    = data.aws_caller_identity.current.account_id
  partition  = data.aws_partition.current.partition
  dns_suffix = data.aws_partition.current.dns_suffix

  # None on an emulator: MiniStack loses the tags that a Kinesis stream is created with, and every plan would add them.
  tags = local.emulator ? null : merge(var.tags, { Meridian = var.prefix })

  peers    = sort(tolist(var.peers))
  emulator = var.emulator != null
  projects = length(var.projections) > 0
  external = var.external != null
  personal = var.personal_data != null
  api      = var.api.enabled

  tables = { for table in ["events", "control", "views", "keys"] : table => "${var.prefix}-${table}" }
  queues = {
    for queue in concat([for peer in local.peers : "backlog-${peer}"], ["backlog-views", "dead-letters", "failed-batches"]) :
    queue => "${var.prefix}-${queue}"
  }
  streams = { bus = "${var.prefix}-events", external = "${var.prefix}-external" }
  topics  = { for severity in ["page", "ticket"] : severity => "${var.prefix}-${severity}" }

  # Topics of the region, and those of somebody else, which it only names.
  made_topics = { for severity, name in local.topics : severity => name if var.alarms[severity].topic_arn == null }

  table_arns         = { for table, name in local.tables : table => "arn:${local.partition}:dynamodb:${var.region}:${local.account}:table/${name}" }
  peer_events_arns   = [for peer in local.near_peers : "arn:${local.partition}:dynamodb:${peer}:${local.account}:table/${local.tables.events}"]
  peer_control_arns  = [for peer in local.near_peers : "arn:${local.partition}:dynamodb:${peer}:${local.account}:table/${local.tables.control}"]
  lanes_arn          = "${local.table_arns.events}/index/${local.lanes.name}"
  peer_lanes_arns    = [for arn in local.peer_events_arns : "${arn}/index/${local.lanes.name}"]
  peer_keys_arns     = [for peer in local.near_peers : "arn:${local.partition}:dynamodb:${peer}:${local.account}:table/${local.tables.keys}"]
  events_stream_arn  = "${local.table_arns.events}/stream/*"
  stream_arns        = { for stream, name in local.streams : stream => "arn:${local.partition}:kinesis:${var.region}:${local.account}:stream/${name}" }
  queue_arns         = { for queue, name in local.queues : queue => "arn:${local.partition}:sqs:${var.region}:${local.account}:${name}" }
  peer_backlog_arns  = [for peer in local.peers : local.queue_arns["backlog-${peer}"]]
  api_arn            = "arn:${local.partition}:lambda:${var.region}:${local.account}:function:${var.prefix}-api"
  personal_key_arn   = "arn:${local.partition}:kms:${var.region}:${local.account}:key/${try(var.personal_data.key, "")}"
  topic_arns         = { for severity, name in local.topics : severity => coalesce(var.alarms[severity].topic_arn, "arn:${local.partition}:sns:${var.region}:${local.account}:${name}") }
  heartbeat_rule_arn = "arn:${local.partition}:events:${var.region}:${local.account}:rule/${var.prefix}-heartbeat"
}

# The functions. `projects` are those that load projections.
locals {
  functions = {
    for name, function in {
      replicator         = { handler = "replicator.handlers.replicate", projects = false, deployed = true }
      catch-up           = { handler = "replicator.handlers.catch_up", projects = false, deployed = true }
      heartbeat          = { handler = "replicator.handlers.heartbeat", projects = false, deployed = true }
      redrive            = { handler = "replicator.handlers.redrive", projects = false, deployed = true }
      publish            = { handler = "replicator.handlers.publish", projects = false, deployed = local.external }
      projector          = { handler = "projectors.handlers.project", projects = true, deployed = local.projects }
      projector-catch-up = { handler = "projectors.handlers.catch_up", projects = true, deployed = local.projects }
      api                = { handler = "projectors.api_handler.handler", projects = true, deployed = local.api }
    } :
    name => merge(function, {
      name        = "${var.prefix}-${name}"
      log_group   = "/aws/lambda/${var.prefix}-${name}"
      memory      = coalesce(name == "api" ? var.api.memory_mb : null, var.function.memory_mb)
      timeout     = name == "api" ? var.api.timeout_seconds : var.function.timeout_seconds
      concurrency = try(coalesce(name == "api" ? var.api.reserved_concurrency : null, var.function.reserved_concurrency), null)
    })
    if function.deployed
  }
  stream_readers = toset([for name in ["replicator", "projector"] : name if contains(keys(local.functions), name)])

  # The replicator is not called for copies that peers wrote here, only for this region's own lanes; for whatever changes or
  # removes an event, in any lane; and for its peers' heartbeats: a region that is fenced writes nothing, and its replicator has
  # to be seen running all the same. The projector is called for everything. A record passes if one filter fits.
  stream_filters = {
    replicator = [[
      { dynamodb = { Keys = { pk = { S = concat([{ prefix = "${var.region}#" }], [for peer in local.peers : { prefix = "${peer}#meridian.heartbeat#" }]) } } } },
      { eventName = [{ anything-but = ["INSERT"] }] },
    ]]
    projector = []
  }

  # What an application needs to know, and every function too.
  environment = merge(
    {
      MERIDIAN_REGION = var.region
      MERIDIAN_PEERS  = join(",", local.peers)
      MERIDIAN_PREFIX = var.prefix
    },
    length(var.retired_peers) > 0 ? { MERIDIAN_RETIRED = join(",", sort(tolist(var.retired_peers))) } : {},
    { for name, url in { MERIDIAN_ENDPOINTS = join(",", [for region, url in try(var.emulator.endpoints, {}) : "${region}=${url}"]) } : name => url if local.emulator },
  )

  # Every function is told of external events, not the publisher alone: whichever counts what is in quarantine has to count
  # the same, or the alarm would come and go.
  external_environment = merge(
    { for name, value in { MERIDIAN_EXTERNAL = try(var.external.transformation, "") } : name => value if local.external },
    { for name, value in { MERIDIAN_EXTERNAL_LANES = try(var.external.lanes, "all") } : name => value if value != "all" },
  )

  # Who settles claims tells the owners of those that lost.
  settles = var.claims != null
  claims_environment = merge(
    { for name, value in { MERIDIAN_OPTIMISTIC_CLAIMS = join(",", sort(tolist(try(var.claims.optimistic, [])))) } : name => value if local.settles },
    { for name, value in { MERIDIAN_COMPENSATION = try(coalesce(var.claims.compensation), "") } : name => value if value != "" },
  )

  # Who appends keeps to the fences, and knows for how many copies to wait: applications, the API, and the projector where it
  # settles claims.
  append_environment = merge(
    { for name, value in { MERIDIAN_COPIES = join(",", [for type, number in var.copies : "${type}=${number}"]) } : name => value if value != "" },
    { MERIDIAN_FENCE_LEASE = tostring(var.fences.lease_seconds) },
    { for name, value in { MERIDIAN_FENCE_CHECKED = join(",", sort(distinct(var.fences.checked))) } : name => value if value != "" },
  )
  appends = concat(["api", "heartbeat"], local.settles ? ["projector", "projector-catch-up"] : [])

  # The id, which is one in all regions: what asks KMS means this region's replica by it.
  personal_environment = { for name, value in { MERIDIAN_PERSONAL_KEY = try(var.personal_data.key, "") } : name => value if local.personal }
}
