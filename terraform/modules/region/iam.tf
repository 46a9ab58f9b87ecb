# Who may do what. Three rules hold throughout:
# - Every role names exact tables, queues and log groups.
# - Events are only ever added, and only under this region's own prefix, whether here or at a peer. ForAllValues is true of
#   a request without keys, so the keys must be there as well (Null). Operators alone add events of every region, those that
#   a region has lost and others still hold; and they, too, only add.
# - No role may update or delete an event, or use a call that can.

locals {
  own_lanes = merge(
    { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["${var.region}#*"] } },
    # Emulators do not say which keys a request has, and would refuse them all.
    local.emulator ? {} : { Null = { "dynamodb:LeadingKeys" = "false" } },
  )

  # Roles and fences of a region: what its writers take part in.
  role_and_fence = merge(
    { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["role", "fence", "fence#*"] } },
    local.emulator ? {} : { Null = { "dynamodb:LeadingKeys" = "false" } },
  )

  # The tables of peers, as links know them.
  known_peers = merge(
    { "ForAllValues:StringEquals" = { "dynamodb:LeadingKeys" = ["peers"] } },
    local.emulator ? {} : { Null = { "dynamodb:LeadingKeys" = "false" } },
  )

  # Peers of which no heartbeat has arrived.
  awaited_peers = merge(
    { "ForAllValues:StringEquals" = { "dynamodb:LeadingKeys" = ["heartbeat"] } },
    local.emulator ? {} : { Null = { "dynamodb:LeadingKeys" = "false" } },
  )

  read_items    = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"]
  send_to       = ["sqs:GetQueueUrl", "sqs:SendMessage"]
  consume       = ["sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
  read_records  = ["kinesis:DescribeStream", "kinesis:DescribeStreamSummary", "kinesis:GetRecords", "kinesis:GetShardIterator", "kinesis:ListShards"]
  keep_control  = ["dynamodb:BatchWriteItem", "dynamodb:PartiQLDelete", "dynamodb:PutItem", "dynamodb:Query"]
  rule_control  = ["dynamodb:BatchWriteItem", "dynamodb:PartiQLDelete", "dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:Query"]
  dead_letters  = local.queue_arns["dead-letters"]
  views_backlog = local.queue_arns["backlog-views"]

  # Forgetting puts one item over all that a subject had. A put of anything else would be one of keys.
  only_forget = local.emulator ? null : {
    "ForAllValues:StringEquals" = { "dynamodb:Attributes" = ["pk", "forgotten"] }
    Null                        = { "dynamodb:Attributes" = "false" }
  }

  # A wrapped key is bound to its subject: nobody unwraps one without naming whose it is, and CloudTrail then says so.
  of_a_subject = {
    "ForAllValues:StringEquals" = { "kms:EncryptionContextKeys" = ["subject"] }
    Null                        = { "kms:EncryptionContext:subject" = "false" }
  }

  can = {
    read_stream = {
      Sid      = "ReadOwnStream"
      Effect   = "Allow"
      Action   = ["dynamodb:DescribeStream", "dynamodb:GetRecords", "dynamodb:GetShardIterator", "dynamodb:ListStreams"]
      Resource = [local.events_stream_arn]
    }
    read_events = {
      Sid      = "ReadOwnEvents"
      Effect   = "Allow"
      Action   = local.read_items
      Resource = [local.table_arns.events]
    }
    query_events = {
      Sid      = "ReadOwnLanes"
      Effect   = "Allow"
      Action   = ["dynamodb:Query"]
      Resource = [local.table_arns.events]
    }
    # All lanes are compared: with a peer whose table was replaced, or when the stream has lost records.
    list_own_lanes = {
      Sid      = "ListOwnLanes"
      Effect   = "Allow"
      Action   = ["dynamodb:Query"]
      Resource = [local.lanes_arn]
    }
    read_peers = {
      Sid      = "ReadEventsOfPeers"
      Effect   = "Allow"
      Action   = local.read_items
      Resource = local.peer_events_arns
    }
    locate_at_peers = {
      Sid      = "LocateEventsAtPeers"
      Effect   = "Allow"
      Action   = ["dynamodb:BatchGetItem"]
      Resource = local.peer_events_arns
    }
    describe_peers = {
      Sid      = "KnowPeers"
      Effect   = "Allow"
      Action   = ["dynamodb:DescribeTable"]
      Resource = local.peer_events_arns
    }
    read_control_of_peers = {
      Sid      = "ReadControlOfPeers"
      Effect   = "Allow"
      Action   = ["dynamodb:Query"]
      Resource = local.peer_control_arns
    }
    list_lanes_at_peers = {
      Sid      = "ListLanesAtPeers"
      Effect   = "Allow"
      Action   = ["dynamodb:Query"]
      Resource = local.peer_lanes_arns
    }
    insert_at_peers = {
      Sid       = "CopyOwnLanesToPeers"
      Effect    = "Allow"
      Action    = ["dynamodb:PartiQLInsert"] # never replaces an item
      Resource  = local.peer_events_arns
      Condition = local.own_lanes
    }
    append = {
      Sid       = "AppendToOwnLanes"
      Effect    = "Allow"
      Action    = ["dynamodb:PartiQLInsert"] # never replaces an item
      Resource  = [local.table_arns.events]
      Condition = local.own_lanes
    }
    keep_control = {
      Sid      = "KeepControl"
      Effect   = "Allow"
      Action   = local.keep_control
      Resource = [local.table_arns.control]
    }
    read_control = {
      Sid      = "ReadControl"
      Effect   = "Allow"
      Action   = ["dynamodb:Query"]
      Resource = [local.table_arns.control]
    }
    # A region's first writer says that the region is active. An INSERT never replaces what somebody else has said.
    begin_role = {
      Sid       = "BeginRoleAndFence"
      Effect    = "Allow"
      Action    = ["dynamodb:PartiQLInsert"]
      Resource  = [local.table_arns.control]
      Condition = local.role_and_fence
    }
    # What peers were told of this region while it could not be reached, it learns from them, and keeps.
    adopt_role = {
      Sid       = "AdoptRoleAndFence"
      Effect    = "Allow"
      Action    = ["dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate"]
      Resource  = [local.table_arns.control]
      Condition = local.role_and_fence
    }
    # Since when this region knows a peer of which no heartbeat has arrived.
    wait_for_peers = {
      Sid       = "WaitForPeers"
      Effect    = "Allow"
      Action    = ["dynamodb:PartiQLInsert"]
      Resource  = [local.table_arns.control]
      Condition = local.awaited_peers
    }
    know_peers = {
      Sid       = "KnowTablesOfPeers"
      Effect    = "Allow"
      Action    = ["dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate"]
      Resource  = [local.table_arns.control]
      Condition = local.known_peers
    }
    describe_own = {
      Sid      = "KnowOwnTables"
      Effect   = "Allow"
      Action   = ["dynamodb:DescribeTable"]
      Resource = [local.table_arns.events, local.table_arns.control]
    }
    # Guards of a transaction: EXISTS in PartiQL. Of EXISTS AWS says that it reads by SELECT and
    # that it is a condition check; both only look.
    check_control = {
      Sid      = "CheckControl"
      Effect   = "Allow"
      Action   = ["dynamodb:ConditionCheckItem", "dynamodb:PartiQLSelect"]
      Resource = [local.table_arns.control]
    }
    keep_views = {
      Sid      = "KeepViews"
      Effect   = "Allow"
      Action   = ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate"]
      Resource = [local.table_arns.views]
    }
    read_views = {
      Sid      = "ReadViews"
      Effect   = "Allow"
      Action   = local.read_items
      Resource = [local.table_arns.views]
    }
    describe_tables = {
      Sid      = "KnowWhetherReady"
      Effect   = "Allow"
      Action   = ["dynamodb:DescribeTable"]
      Resource = [local.table_arns.events, local.table_arns.views, local.table_arns.control]
    }
    read_bus = {
      Sid      = "ReadBus"
      Effect   = "Allow"
      Action   = local.read_records
      Resource = [local.stream_arns.bus]
    }
    list_streams = {
      Sid      = "FindBus"
      Effect   = "Allow"
      Action   = ["kinesis:ListStreams"]
      Resource = "*" # lists have no resources to name
    }
    publish = {
      Sid      = "Publish"
      Effect   = "Allow"
      Action   = ["kinesis:PutRecords"]
      Resource = [local.stream_arns.external]
    }
    read_external = {
      Sid      = "ReadExternalEvents"
      Effect   = "Allow"
      Action   = local.read_records
      Resource = [local.stream_arns.external]
    }
    keep_keys = {
      Sid      = "KeepOwnKeys"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem", "dynamodb:UpdateItem"]
      Resource = [local.table_arns.keys]
    }
    fetch_keys = {
      Sid      = "FetchKeysOfPeers"
      Effect   = "Allow"
      Action   = ["dynamodb:GetItem"]
      Resource = local.peer_keys_arns
    }
    forget_here = {
      for name, value in { Sid = "ForgetHere", Effect = "Allow", Action = ["dynamodb:PutItem"], Resource = [local.table_arns.keys], Condition = local.only_forget } :
      name => value if value != null
    }
    forget_everywhere = {
      for name, value in { Sid = "ForgetEverywhere", Effect = "Allow", Action = ["dynamodb:PutItem"], Resource = concat([local.table_arns.keys], local.peer_keys_arns), Condition = local.only_forget } :
      name => value if value != null
    }
    describe_keys = {
      Sid      = "KnowWhetherKeysAreThere"
      Effect   = "Allow"
      Action   = ["dynamodb:DescribeTable"]
      Resource = [local.table_arns.keys]
    }
    unwrap_keys = {
      Sid       = "UnwrapKeysOfSubjects"
      Effect    = "Allow"
      Action    = ["kms:Decrypt"]
      Resource  = [local.personal_key_arn]
      Condition = local.of_a_subject
    }
    make_keys = {
      Sid       = "MakeKeysOfSubjects"
      Effect    = "Allow"
      Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource  = [local.personal_key_arn]
      Condition = local.of_a_subject
    }
    call_api = {
      Sid       = "CallApi"
      Effect    = "Allow"
      Action    = ["lambda:InvokeFunctionUrl"]
      Resource  = [local.api_arn]
      Condition = { StringEquals = { "lambda:FunctionUrlAuthType" = "AWS_IAM" } }
    }
    # URLs made since October 2025 demand this as well; by the URL only, or a caller could hand the function any event.
    invoke_api = {
      Sid       = "InvokeApiByItsUrl"
      Effect    = "Allow"
      Action    = ["lambda:InvokeFunction"]
      Resource  = [local.api_arn]
      Condition = { Bool = { "lambda:InvokedViaFunctionUrl" = "true" } }
    }
    note_failed_batches = {
      Sid      = "NoteFailedBatches"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = [local.queue_arns["failed-batches"]]
    }
    defer_to_peers = {
      Sid      = "DeferToBacklogs"
      Effect   = "Allow"
      Action   = local.send_to
      Resource = concat(local.peer_backlog_arns, [local.dead_letters])
    }
    defer_to_views = {
      Sid      = "DeferToBacklog"
      Effect   = "Allow"
      Action   = local.send_to
      Resource = [local.views_backlog, local.dead_letters]
    }
    defer_to_all = {
      Sid      = "DeferToAllBacklogs"
      Effect   = "Allow"
      Action   = local.send_to
      Resource = concat(local.peer_backlog_arns, [local.views_backlog, local.dead_letters])
    }
    consume_peers = {
      Sid      = "ConsumeBacklogs"
      Effect   = "Allow"
      Action   = local.consume
      Resource = local.peer_backlog_arns
    }
    consume_views = {
      Sid      = "ConsumeBacklog"
      Effect   = "Allow"
      Action   = local.consume
      Resource = [local.views_backlog]
    }
    consume_failed_batches = {
      Sid      = "ConsumeFailedBatches"
      Effect   = "Allow"
      Action   = local.consume
      Resource = [local.queue_arns["failed-batches"]]
    }
    # For operators. The events that a region has lost are brought back from its peers, in whoever's lanes they are.
    restore_events = {
      Sid      = "RestoreEvents"
      Effect   = "Allow"
      Action   = ["dynamodb:PartiQLInsert"] # never replaces an item
      Resource = [local.table_arns.events]
    }
    read_all_events = {
      Sid      = "ReadEvents"
      Effect   = "Allow"
      Action   = concat(local.read_items, ["dynamodb:Scan"])
      Resource = [local.table_arns.events, local.lanes_arn]
    }
    rule_control = {
      Sid      = "RuleRegion"
      Effect   = "Allow"
      Action   = local.rule_control
      Resource = [local.table_arns.control]
    }
    # For workers: backlogs, checkpoints and leases.
    lead_control = {
      Sid      = "LeadRegion"
      Effect   = "Allow"
      Action   = distinct(concat(local.keep_control, local.rule_control))
      Resource = [local.table_arns.control]
    }
    find_external = {
      Sid      = "FindExternalEvents"
      Effect   = "Allow"
      Action   = ["kinesis:DescribeStreamSummary"]
      Resource = [local.stream_arns.external]
    }
    measure_queues = {
      Sid      = "MeasureQueues"
      Effect   = "Allow"
      Action   = ["sqs:GetQueueAttributes", "sqs:GetQueueUrl"]
      Resource = values(local.queue_arns)
    }
    # For whoever is on call. Dead letters go back to the backlogs, and so does every lane that is to be compared.
    take_dead_letters = {
      Sid      = "TakeDeadLetters"
      Effect   = "Allow"
      Action   = ["sqs:DeleteMessage", "sqs:ReceiveMessage"]
      Resource = [local.dead_letters]
    }
    put_on_backlogs = {
      Sid      = "PutOnBacklogs"
      Effect   = "Allow"
      Action   = ["sqs:SendMessage"]
      Resource = concat(local.peer_backlog_arns, [local.views_backlog])
    }
    rebuild_views = {
      Sid      = "RebuildViews"
      Effect   = "Allow"
      Action   = ["dynamodb:BatchGetItem", "dynamodb:BatchWriteItem", "dynamodb:PartiQLInsert", "dynamodb:PartiQLUpdate", "dynamodb:Query", "dynamodb:Scan"]
      Resource = [local.table_arns.views]
    }
    trace = {
      Sid      = "Trace"
      Effect   = "Allow"
      Action   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
      Resource = "*" # X-Ray has no resources to name
    }
  }

  # Who folds or serves personal data reveals it, and keeps a key that it fetched. Who writes makes keys, and forgets.
  reveal  = [for statement in [local.can.keep_keys, local.can.fetch_keys, local.can.forget_here, local.can.unwrap_keys] : statement if local.personal]
  protect = [for statement in [local.can.describe_keys, local.can.keep_keys, local.can.fetch_keys, local.can.forget_everywhere, local.can.make_keys] : statement if local.personal]

  # Who appends makes sure first that the region may be written and lacks nothing that it wrote, as its tables, its control
  # state and its peers tell. Streams whose appends check the fence check it in the append's own transaction.
  may_append = [local.can.describe_own, local.can.read_control_of_peers, local.can.list_lanes_at_peers, local.can.begin_role]
  check      = [for statement in [local.can.check_control] : statement if length(var.fences.checked) > 0]
  # Handing events over: who does not read peers otherwise asks them what they hold.
  read_copies = [for statement in [local.can.read_peers] : statement if length(var.copies) > 0]
  hand_over   = [for statement in [local.can.insert_at_peers, local.can.describe_peers] : statement if length(var.copies) > 0]

  operate = [
    local.can.read_all_events, local.can.restore_events, local.can.rule_control, local.can.check_control,
    local.can.describe_tables, local.can.measure_queues,
  ]

  # Settling claims appends to own lanes, nowhere else.
  settle = [for statement in concat([local.can.append], local.may_append, local.check, local.hand_over, local.read_copies) : statement if local.settles]

  granted = {
    replicator = [
      local.can.read_stream, local.can.read_events, local.can.read_peers, local.can.insert_at_peers, local.can.keep_control,
      local.can.describe_own, local.can.list_lanes_at_peers, local.can.describe_peers, local.can.read_control_of_peers,
      local.can.adopt_role, local.can.know_peers, local.can.list_own_lanes, local.can.defer_to_peers,
      local.can.note_failed_batches,
    ]
    catch-up = [
      local.can.read_events, local.can.read_peers, local.can.insert_at_peers, local.can.keep_control,
      local.can.describe_peers, local.can.read_control_of_peers, local.can.know_peers, local.can.list_own_lanes,
      local.can.defer_to_peers, local.can.consume_peers,
    ]
    redrive = [
      local.can.read_stream, local.can.list_own_lanes, local.can.keep_control, local.can.consume_failed_batches,
      local.can.note_failed_batches, local.can.defer_to_all,
    ]
    heartbeat = concat([
      local.can.read_events, local.can.append, local.can.read_control, local.can.wait_for_peers,
    ], local.may_append, local.check)
    publish = [
      local.can.read_bus, local.can.list_streams, local.can.query_events, local.can.keep_control, local.can.publish,
    ]
    projector = concat([
      local.can.read_stream, local.can.read_events, local.can.keep_views, local.can.keep_control,
      local.can.defer_to_views, local.can.note_failed_batches,
    ], local.reveal, local.settle)
    projector-catch-up = concat([
      local.can.read_events, local.can.keep_views, local.can.keep_control, local.can.defer_to_views,
      local.can.consume_views,
    ], local.reveal, local.settle)
    api = concat([
      local.can.read_events, local.can.read_peers, local.can.append, local.can.read_views, local.can.read_control,
      local.can.describe_tables,
    ], local.may_append, local.check, local.hand_over, local.reveal)
    # What a token names and has not arrived is read at the peers. Claims look up their homes in control, and hold them there.
    writer = concat([
      local.can.read_events, local.can.read_peers, local.can.append, local.can.read_control, local.can.check_control,
    ], local.may_append, local.hand_over, local.protect)
    # Commands that read ask first whether the table is there.
    reader = [
      local.can.read_events, local.can.read_peers, local.can.read_control, local.can.read_views, local.can.describe_tables,
    ]
    operator = local.operate
    # Whoever is on call has the operators' rights, and those of every other command that mends something here.
    oncall = concat(local.operate, [
      local.can.take_dead_letters, local.can.put_on_backlogs, local.can.rebuild_views, local.can.locate_at_peers,
    ], local.reveal)
    # What the functions do, by processes of one's own: replicator run, replicator publish, projectors run.
    worker = concat([
      local.can.read_stream, local.can.read_all_events, local.can.read_peers, local.can.insert_at_peers, local.can.append,
      local.can.describe_peers, local.can.read_control_of_peers, local.can.list_lanes_at_peers, local.can.lead_control,
      local.can.check_control, local.can.describe_tables, local.can.keep_views,
      ], local.reveal, [for statement in [local.can.describe_keys] : statement if local.personal], [
      for statement in [local.can.read_bus, local.can.list_streams, local.can.publish, local.can.find_external] : statement if local.external
    ])
    consumer = [local.can.read_external]
    caller   = [local.can.call_api, local.can.invoke_api]
  }
}

# Role names are global, so the region is part of them.
resource "aws_iam_role" "function" {
  for_each = local.functions

  name                 = "${var.prefix}-${var.region}-${each.key}"
  path                 = var.role_path
  description          = "Meridian ${var.prefix} in ${var.region}: the ${each.key} function"
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "function" {
  for_each = local.functions

  name = "meridian"
  role = aws_iam_role.function[each.key].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      local.statements[each.key],
      [{
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["arn:${local.partition}:logs:${var.region}:${local.account}:log-group:${each.value.log_group}:*"]
      }],
      [for statement in [local.can.trace] : statement if var.function.tracing == "Active"],
    )
  })
}

# Apart from the rest because the key's ARN is not known before the key is made. Other regions' keys are not needed here:
# their own policies let this account in through DynamoDB.
resource "aws_iam_role_policy" "kms" {
  for_each = local.functions

  name = "kms"
  role = aws_iam_role.function[each.key].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "UseOwnKey"
      Effect   = "Allow"
      Action   = ["kms:Decrypt", "kms:GenerateDataKey"]
      Resource = [local.key_arn]
    }]
  })
}

resource "aws_iam_policy" "writer" {
  name        = "${var.prefix}-${var.region}-writer"
  path        = var.role_path
  description = "Append events under ${var.region}'s own prefix, and read events"
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.statements.writer })
  tags        = local.tags
}

resource "aws_iam_policy" "reader" {
  name        = "${var.prefix}-${var.region}-reader"
  path        = var.role_path
  description = "Read events and views in ${var.region}"
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.statements.reader })
  tags        = local.tags
}

# One region's part: whoever moves writers from one region to another, or mends one from the others, has all regions'.
resource "aws_iam_policy" "operator" {
  name        = "${var.prefix}-${var.region}-operator"
  path        = var.role_path
  description = "Run failovers, comparisons and repairs of ${var.region}: add events of every region, change none"
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.statements.operator })
  tags        = local.tags
}

# All that a documented command needs here, but for those that write as an application or run as a worker do.
resource "aws_iam_policy" "oncall" {
  name        = "${var.prefix}-${var.region}-oncall"
  path        = var.role_path
  description = "Run every command that mends ${var.region}: what operators run, dead letters, backlogs and views"
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.statements.oncall })
  tags        = local.tags
}

# The region's key need not be named: its own policy lets this account in through DynamoDB and Kinesis.
resource "aws_iam_policy" "worker" {
  name        = "${var.prefix}-${var.region}-worker"
  path        = var.role_path
  description = "Run the workers of ${var.region}: copy its events to peers, fold views, publish"
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.statements.worker })
  tags        = local.tags
}

# The region's key need not be named: its own policy lets this account in through Kinesis.
resource "aws_iam_policy" "consumer" {
  count = local.external ? 1 : 0

  name        = "${var.prefix}-${var.region}-consumer"
  path        = var.role_path
  description = "Read external events in ${var.region}"
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.statements.consumer })
  tags        = local.tags
}

resource "aws_iam_policy" "caller" {
  count = local.api ? 1 : 0

  name        = "${var.prefix}-${var.region}-caller"
  path        = var.role_path
  description = "Call the HTTP API in ${var.region}"
  policy      = jsonencode({ Version = "2012-10-17", Statement = local.statements.caller })
  tags        = local.tags
}

resource "aws_iam_role" "writer" {
  count = length(var.writer_principals) > 0 ? 1 : 0

  name                 = "${var.prefix}-${var.region}-writer"
  path                 = var.role_path
  description          = "Meridian ${var.prefix} in ${var.region}: appends events"
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { AWS = sort(tolist(var.writer_principals)) }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy_attachment" "writer" {
  count = length(aws_iam_role.writer)

  role       = aws_iam_role.writer[0].name
  policy_arn = aws_iam_policy.writer.arn
}
