# One account a region. PartiQL, by which events are copied, has no access across accounts, whatever a table's own policy says
# (docs.aws.amazon.com/amazondynamodb/latest/developerguide/rbac-iam-actions.html). So each region makes roles for its peers in
# other accounts, which their functions assume. Names follow from prefix, region and path, so regions need nothing of each other.

locals {
  account_of = { for region in concat([var.region], local.peers) : region => lookup(var.accounts, region, local.account) }
  near_peers = [for peer in local.peers : peer if local.account_of[peer] == local.account]
  far_peers  = [for peer in local.peers : peer if local.account_of[peer] != local.account]

  # What peers may do here: copy their own lanes, or read. `copy` is for the two functions that copy, `read` for whatever else in
  # the peer's account its own policies let assume it.
  from_peers = { for pair in setproduct(["copy", "read"], local.far_peers) : "${pair[0]}-${pair[1]}" => { way = pair[0], peer = pair[1] } }

  # The roles that this region assumes at peers.
  roles_at_peers = {
    for way in ["copy", "read"] : way => {
      for peer in local.far_peers : peer => "arn:${local.partition}:iam::${local.account_of[peer]}:role${var.role_path}${var.prefix}-${peer}-${way}-${var.region}"
    }
  }
  role_environments = {
    for way, roles in local.roles_at_peers : way => {
      for name, value in { MERIDIAN_ROLES = join(",", [for peer, arn in roles : "${peer}=${arn}"]) } : name => value if value != ""
    }
  }
  copies       = ["replicator", "catch-up"]
  copiers      = concat(local.copies, ["worker"]) # `replicator run` of a region, where its role has this name
  asks_peers   = concat(["api", "heartbeat"], local.settles ? ["projector", "projector-catch-up"] : [])
  asking_roles = concat(local.asks_peers, ["writer", "reader"])

  assume = {
    for way, roles in local.roles_at_peers : way => {
      Sid      = "AssumeRolesAtPeers"
      Effect   = "Allow"
      Action   = ["sts:AssumeRole"]
      Resource = values(roles)
    }
  }

  # Statements that name nothing are left out: where all peers are near, or all far.
  statements = {
    for role, statements in local.granted : role => [
      for statement in concat(
        statements,
        contains(local.copiers, role) ? [local.assume.copy] : [],
        contains(local.asking_roles, role) ? [local.assume.read] : [],
      ) : statement if length(statement.Resource) > 0
    ]
  }
}

resource "aws_iam_role" "peer" {
  for_each = local.from_peers

  name                 = "${var.prefix}-${var.region}-${each.key}"
  path                 = var.role_path
  description          = "Meridian ${var.prefix} in ${var.region}: what ${each.value.peer} may do here (${each.value.way})"
  permissions_boundary = var.permissions_boundary
  tags                 = local.tags

  # The account, not its roles: IAM refuses a role that does not exist yet, and regions are applied in any order.
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [merge(
      {
        Effect    = "Allow"
        Principal = { AWS = "arn:${local.partition}:iam::${local.account_of[each.value.peer]}:root" }
        Action    = "sts:AssumeRole"
      },
      { for name, value in {
        Condition = { ArnLike = { "aws:PrincipalArn" = [
          for name in local.copiers : "arn:${local.partition}:iam::${local.account_of[each.value.peer]}:role${var.role_path}${var.prefix}-${each.value.peer}-${name}"
        ] } }
      } : name => value if each.value.way == "copy" }
    )]
  })
}

resource "aws_iam_role_policy" "peer" {
  for_each = local.from_peers

  name = "meridian"
  role = aws_iam_role.peer[each.key].name

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = concat(
      [
        {
          Sid      = "ReadEvents"
          Effect   = "Allow"
          Action   = local.read_items
          Resource = [local.table_arns.events]
        },
        {
          Sid      = "ListLanesAndReadControl"
          Effect   = "Allow"
          Action   = ["dynamodb:Query"]
          Resource = [local.lanes_arn, local.table_arns.control]
        },
      ],
      [for statement in [
        {
          Sid      = "KnowTable"
          Effect   = "Allow"
          Action   = ["dynamodb:DescribeTable"]
          Resource = [local.table_arns.events]
        },
      ] : statement if each.value.way == "copy"],
      [for statement in [
        {
          Sid      = "CopyLanesOfPeer"
          Effect   = "Allow"
          Action   = ["dynamodb:PartiQLInsert"] # never replaces an item
          Resource = [local.table_arns.events]
          Condition = merge(
            { "ForAllValues:StringLike" = { "dynamodb:LeadingKeys" = ["${each.value.peer}#*"] } },
            local.emulator ? {} : { Null = { "dynamodb:LeadingKeys" = "false" } },
          )
        },
      ] : statement if each.value.way == "copy"],
    )
  })
}
