# What a platform team sets: tags, a permissions boundary, a path of roles, a key, signed code. No account or network needed.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  region      = "us-east-1"
  peers       = ["eu-west-1", "ap-southeast-2"]
  package     = "tests/package.zip"
  projections = ["shop.views:Orders"]
  api         = { enabled = true }
  external    = { transformation = "shop.external:Orders" }

  personal_data     = { key = "mrk-1234abcd12ab34cd56ef1234567890ab" }
  writer_principals = ["arn:aws:iam::123456789012:root"]
}

run "nothing_of_it_by_default" {
  command = plan
  module {
    source = "./modules/region"
  }

  assert {
    condition = alltrue([
      for role in concat(values(aws_iam_role.function), aws_iam_role.writer) : role.permissions_boundary == null && role.path == "/" && role.tags == tomap({ Meridian = "meridian" })
    ])
    error_message = "a role has a boundary or a path that nobody gave, or lacks the system's tag"
  }
  assert {
    condition     = alltrue([for function in aws_lambda_function.function : function.code_signing_config_arn == null]) && length(aws_kms_key.protected) == 1 && length(aws_kms_alias.region) == 1
    error_message = "functions ask for signed code, or there is no key"
  }
}

run "roles_are_bounded_and_have_a_path" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    permissions_boundary = "arn:aws:iam::123456789012:policy/boundary"
    role_path            = "/platform/meridian/"
  }

  assert {
    condition     = alltrue([for role in concat(values(aws_iam_role.function), aws_iam_role.writer) : role.permissions_boundary == "arn:aws:iam::123456789012:policy/boundary" && role.path == "/platform/meridian/"])
    error_message = "a role has no boundary, or another path"
  }
  assert {
    condition = alltrue([
      for policy in concat([aws_iam_policy.writer, aws_iam_policy.reader, aws_iam_policy.operator, aws_iam_policy.oncall], aws_iam_policy.consumer, aws_iam_policy.caller) :
      policy.path == "/platform/meridian/"
    ])
    error_message = "a policy has another path"
  }
}

run "tags_are_everywhere" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tags = { Team = "platform" }
  }

  assert {
    condition = alltrue([
      for tags in concat(
        [for table in [aws_dynamodb_table.protected_events[0], aws_dynamodb_table.protected_control[0], aws_dynamodb_table.views, aws_dynamodb_table.keys[0]] : table.tags],
        [for queue in concat(values(aws_sqs_queue.backlog), [aws_sqs_queue.dead_letters, aws_sqs_queue.failed_batches]) : queue.tags],
        values(aws_lambda_function.function)[*].tags, values(aws_cloudwatch_log_group.function)[*].tags, values(aws_iam_role.function)[*].tags,
        values(aws_cloudwatch_metric_alarm.alarm)[*].tags, values(aws_cloudwatch_composite_alarm.alarm)[*].tags, values(aws_sns_topic.alarms)[*].tags,
        [aws_kms_key.protected[0].tags, aws_kinesis_stream.bus[0].tags, aws_kinesis_stream.external[0].tags, aws_cloudwatch_event_rule.heartbeat.tags],
      ) : tags == tomap({ Team = "platform", Meridian = "meridian" })
    ])
    error_message = "something lacks a tag"
  }
}

run "code_is_signed" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    code_signing_config_arn = "arn:aws:lambda:us-east-1:123456789012:code-signing-config:csc-0123456789abcdef0"
  }

  assert {
    condition     = alltrue([for function in aws_lambda_function.function : function.code_signing_config_arn == "arn:aws:lambda:us-east-1:123456789012:code-signing-config:csc-0123456789abcdef0"])
    error_message = "a function takes code that nobody signed"
  }
}

run "the_key_is_yours" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    kms_key = { arn = "arn:aws:kms:us-east-1:123456789012:key/mine" }
  }

  assert {
    condition     = length(aws_kms_key.protected) == 0 && length(aws_kms_key.unprotected) == 0 && length(aws_kms_alias.region) == 0 && output.key_arn == "arn:aws:kms:us-east-1:123456789012:key/mine"
    error_message = "a key or an alias is made where one was given"
  }
  assert {
    condition = toset(concat(
      [for table in [aws_dynamodb_table.protected_events[0], aws_dynamodb_table.protected_control[0], aws_dynamodb_table.views, aws_dynamodb_table.keys[0]] : table.server_side_encryption[0].kms_key_arn],
      [for queue in concat(values(aws_sqs_queue.backlog), [aws_sqs_queue.dead_letters, aws_sqs_queue.failed_batches]) : queue.kms_master_key_id],
      values(aws_lambda_function.function)[*].kms_key_arn, values(aws_cloudwatch_log_group.function)[*].kms_key_id,
      [aws_kinesis_stream.bus[0].kms_key_id, aws_kinesis_stream.external[0].kms_key_id],
      [for policy in aws_iam_role_policy.kms : jsondecode(policy.policy).Statement[0].Resource[0]],
    )) == toset(["arn:aws:kms:us-east-1:123456789012:key/mine"])
    error_message = "something is encrypted with another key, or a role may use another"
  }
}

run "logs_are_kept_as_long_as_was_said" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    log_retention_days = 731
  }

  assert {
    condition     = alltrue([for group in aws_cloudwatch_log_group.function : group.retention_in_days == 731]) && keys(aws_cloudwatch_log_group.function) == keys(aws_lambda_function.function)
    error_message = "a function's logs are kept for another time, or without end"
  }
  assert {
    condition     = alltrue([for name, group in aws_cloudwatch_log_group.function : group.name == "/aws/lambda/${aws_lambda_function.function[name].function_name}"])
    error_message = "a function writes into another group than the one that is kept"
  }
}

run "an_emulator_gets_no_tags" {
  command = plan
  module {
    source = "./modules/region"
  }
  override_data {
    target = data.aws_caller_identity.current
    values = { account_id = "000000000000" }
  }
  variables {
    tags     = { Team = "platform" }
    emulator = { endpoints = { us-east-1 = "http://127.0.0.1:4566", eu-west-1 = "http://127.0.0.1:4567", ap-southeast-2 = "http://127.0.0.1:4568" } }
  }

  assert {
    condition     = alltrue([for tags in [aws_dynamodb_table.protected_events[0].tags, aws_kinesis_stream.bus[0].tags] : tags == null])
    error_message = "an emulator gets tags, which it may lose"
  }
}

run "one_account_by_default" {
  command = plan
  module {
    source = "./modules/region"
  }

  assert {
    condition     = length(aws_iam_role.peer) == 0 && !can(output.environment.MERIDIAN_ROLES) && !strcontains(join("", [for policy in aws_iam_role_policy.function : policy.policy]), "sts:AssumeRole")
    error_message = "roles are made or assumed where all regions are in one account"
  }
}

run "one_account_a_region" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    personal_data = null
    role_path     = "/platform/"
    accounts      = { us-east-1 = "123456789012", eu-west-1 = "222222222222", ap-southeast-2 = "123456789012" }
  }

  assert {
    condition     = { for name, role in aws_iam_role.peer : name => role.name } == { copy-eu-west-1 = "meridian-us-east-1-copy-eu-west-1", read-eu-west-1 = "meridian-us-east-1-read-eu-west-1" }
    error_message = "roles for peers are not those of the peers in other accounts"
  }
  assert {
    condition     = alltrue([for role in aws_iam_role.peer : role.path == "/platform/" && jsondecode(role.assume_role_policy).Statement[0].Principal.AWS == "arn:aws:iam::222222222222:root"])
    error_message = "a role lets in another account than its peer's"
  }
  assert {
    condition = jsondecode(aws_iam_role.peer["copy-eu-west-1"].assume_role_policy).Statement[0].Condition.ArnLike["aws:PrincipalArn"] == [
      "arn:aws:iam::222222222222:role/platform/meridian-eu-west-1-replicator", "arn:aws:iam::222222222222:role/platform/meridian-eu-west-1-catch-up",
      "arn:aws:iam::222222222222:role/platform/meridian-eu-west-1-worker",
    ]
    error_message = "others than the peer's copying functions may copy"
  }
  assert {
    condition = alltrue([
      for name in ["replicator", "catch-up"] :
      aws_lambda_function.function[name].environment[0].variables["MERIDIAN_ROLES"] == "eu-west-1=arn:aws:iam::222222222222:role/platform/meridian-eu-west-1-copy-us-east-1"
    ])
    error_message = "a function that copies does not know the role that copies"
  }
  assert {
    condition     = aws_lambda_function.function["heartbeat"].environment[0].variables["MERIDIAN_ROLES"] == "eu-west-1=arn:aws:iam::222222222222:role/platform/meridian-eu-west-1-read-us-east-1" && output.environment.MERIDIAN_ROLES == aws_lambda_function.function["api"].environment[0].variables["MERIDIAN_ROLES"]
    error_message = "a function or an application that asks peers does not know the role that reads"
  }
  assert {
    condition     = alltrue([for name in ["redrive", "publish"] : !can(aws_lambda_function.function[name].environment[0].variables["MERIDIAN_ROLES"])])
    error_message = "a function that asks no peer is told of roles"
  }
  # The peer in this account is reached as before, the other one by its role only.
  assert {
    condition = flatten([for statement in jsondecode(aws_iam_role_policy.function["replicator"].policy).Statement : statement.Resource if statement.Sid == "CopyOwnLanesToPeers"]) == [
      "arn:aws:dynamodb:ap-southeast-2:123456789012:table/meridian-events"
    ]
    error_message = "the replicator names a table that it cannot reach, or lacks one that it can"
  }
}

run "all_peers_in_other_accounts" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    personal_data = null
    accounts      = { us-east-1 = "123456789012", eu-west-1 = "222222222222", ap-southeast-2 = "333333333333" }
  }

  assert {
    condition = alltrue(flatten([
      for policy in concat(values(aws_iam_role_policy.function)[*].policy, [aws_iam_policy.writer.policy, aws_iam_policy.reader.policy]) :
      [for statement in jsondecode(policy).Statement : length(statement.Resource) > 0]
    ]))
    error_message = "a statement names no resource, which IAM refuses"
  }
  assert {
    condition     = length(aws_iam_role.peer) == 4
    error_message = "a peer has not both roles"
  }
}

run "credentials_are_of_another_account" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    personal_data = null
    accounts      = { us-east-1 = "444444444444", eu-west-1 = "222222222222", ap-southeast-2 = "333333333333" }
  }
  expect_failures = [data.aws_caller_identity.current]
}
