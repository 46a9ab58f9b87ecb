# Every wrong input fails at plan. No account, credentials or network needed.

mock_provider "aws" {
  mock_data "aws_caller_identity" {
    defaults = { account_id = "123456789012" }
  }
  mock_data "aws_partition" {
    defaults = { partition = "aws", dns_suffix = "amazonaws.com" }
  }
}

variables {
  region  = "us-east-1"
  peers   = ["eu-west-1", "ap-southeast-2"]
  package = "tests/package.zip"
}

run "region_is_not_a_region" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    region = "virginia"
  }
  expect_failures = [var.region]
}

run "region_has_upper_case" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    region = "US-EAST-1"
  }
  expect_failures = [var.region]
}

run "region_ends_in_a_zone" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    region = "us-east-1a"
  }
  expect_failures = [var.region]
}

run "no_peers" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    peers = []
  }
  expect_failures = [var.peers]
}

run "peer_is_not_a_region" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    peers = ["eu-west-1", "ireland"]
  }
  expect_failures = [var.peers]
}

run "region_is_its_own_peer" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    peers = ["eu-west-1", "us-east-1"]
  }
  expect_failures = [var.peers]
}

run "retired_peer_is_not_a_region" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    retired_peers = ["ireland"]
  }
  expect_failures = [var.retired_peers]
}

run "retired_peer_still_runs" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    retired_peers = ["eu-west-1"]
  }
  expect_failures = [var.retired_peers]
}

run "prefix_is_empty" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    prefix = ""
  }
  expect_failures = [var.prefix]
}

run "prefix_is_too_long" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    prefix = "a-prefix-that-has-30-characters"
  }
  expect_failures = [var.prefix]
}

run "prefix_has_a_dot" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    prefix = "shop.events"
  }
  expect_failures = [var.prefix]
}

run "prefix_begins_with_a_hyphen" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    prefix = "-shop"
  }
  expect_failures = [var.prefix]
}

run "package_is_missing" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    package = "tests/missing.zip"
  }
  expect_failures = [var.package]
}

run "package_is_not_a_zip" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    package = "main.tf"
  }
  expect_failures = [var.package]
}

run "projection_without_a_class" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views"]
  }
  expect_failures = [var.projections]
}

run "projection_with_a_comma" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders,Stock"]
  }
  expect_failures = [var.projections]
}

run "projection_is_named_twice" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders", "shop.views:Orders"]
  }
  expect_failures = [var.projections]
}

run "log_retention_is_not_offered" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    log_retention_days = 100
  }
  expect_failures = [var.log_retention_days]
}

run "log_level_is_unknown" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    log_level = "verbose"
  }
  expect_failures = [var.log_level]
}

run "alarm_email_is_no_address" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    alarms = { page = { emails = ["on-call"] } }
  }
  expect_failures = [var.alarms]
}

run "alarm_topic_is_of_another_region" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    alarms = { page = { topic_arn = "arn:aws:sns:eu-west-1:123456789012:pages" } }
  }
  expect_failures = [var.alarms]
}

run "alarm_topic_is_ours_and_yours" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    alarms = { ticket = { topic_arn = "arn:aws:sns:us-east-1:123456789012:tickets", emails = ["day@example.com"] } }
  }
  expect_failures = [var.alarms]
}

run "writer_is_anybody" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    writer_principals = ["*"]
  }
  expect_failures = [var.writer_principals]
}

run "writer_is_a_wildcard" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    writer_principals = ["arn:aws:iam::123456789012:role/*"]
  }
  expect_failures = [var.writer_principals]
}

run "memory_is_too_small" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    function = { memory_mb = 64 }
  }
  expect_failures = [var.function]
}

run "timeout_is_too_long" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    function = { timeout_seconds = 901 }
  }
  expect_failures = [var.function]
}

run "timeout_is_not_whole" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    function = { timeout_seconds = 1.5 }
  }
  expect_failures = [var.function]
}

run "runtime_is_too_old" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    function = { runtime = "python3.9" }
  }
  expect_failures = [var.function]
}

run "architecture_is_unknown" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    function = { architecture = "riscv" }
  }
  expect_failures = [var.function]
}

run "reserved_concurrency_is_none" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    function = { reserved_concurrency = 0 }
  }
  expect_failures = [var.function]
}

run "tracing_is_unknown" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    function = { tracing = "On" }
  }
  expect_failures = [var.function]
}

run "batch_is_empty" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    mapping = { batch_size = 0 }
  }
  expect_failures = [var.mapping]
}

run "batch_is_larger_than_dynamodb_reads" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    mapping = { batch_size = 1001 }
  }
  expect_failures = [var.mapping]
}

run "window_is_too_long" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    mapping = { window_seconds = 61 }
  }
  expect_failures = [var.mapping]
}

run "parallelization_is_too_high" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    mapping = { parallelization = 11 }
  }
  expect_failures = [var.mapping]
}

run "retries_are_negative" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    mapping = { retries = -2 }
  }
  expect_failures = [var.mapping]
}

run "record_age_is_longer_than_the_stream" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    mapping = { record_age_seconds = 86401 }
  }
  expect_failures = [var.mapping]
}

run "catch_up_batch_is_too_large" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    mapping = { catch_up_batch_size = 11 }
  }
  expect_failures = [var.mapping]
}

run "catch_up_concurrency_is_too_low" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    mapping = { catch_up_concurrency = 1 }
  }
  expect_failures = [var.mapping]
}

run "message_is_never_received" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    mapping = { max_receives = 0 }
  }
  expect_failures = [var.mapping]
}

run "billing_mode_is_unknown" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { events = { billing_mode = "ON_DEMAND" } }
  }
  expect_failures = [var.tables]
}

run "table_class_is_unknown" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { views = { table_class = "COLD" } }
  }
  expect_failures = [var.tables]
}

run "provisioned_without_capacities" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { control = { billing_mode = "PROVISIONED" } }
  }
  expect_failures = [var.tables]
}

run "provisioned_with_one_capacity" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { views = { billing_mode = "PROVISIONED", read_capacity = { min = 5, max = 10 } } }
  }
  expect_failures = [var.tables]
}

run "provisioned_without_the_indexs_capacities" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { events = { billing_mode = "PROVISIONED", read_capacity = { min = 5, max = 10 }, write_capacity = { min = 5, max = 10 } } }
  }
  expect_failures = [var.tables]
}

run "capacities_on_demand" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { views = { read_capacity = { min = 5, max = 10 } } }
  }
  expect_failures = [var.tables]
}

run "capacities_of_an_index_on_demand" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { lanes = { write_capacity = { min = 5, max = 10 } } }
  }
  expect_failures = [var.tables]
}

run "capacity_has_its_bounds_reversed" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { views = { billing_mode = "PROVISIONED", read_capacity = { min = 10, max = 5 }, write_capacity = { min = 5, max = 10 } } }
  }
  expect_failures = [var.tables]
}

run "capacity_is_none" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { views = { billing_mode = "PROVISIONED", read_capacity = { min = 0, max = 5 }, write_capacity = { min = 5, max = 10 } } }
  }
  expect_failures = [var.tables]
}

run "capacity_is_not_whole" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { views = { billing_mode = "PROVISIONED", read_capacity = { min = 1.5, max = 5 }, write_capacity = { min = 5, max = 10 } } }
  }
  expect_failures = [var.tables]
}

run "utilization_is_too_low" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { control = { utilization = 19 } }
  }
  expect_failures = [var.tables]
}

run "utilization_is_too_high" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { lanes = { utilization = 91 } }
  }
  expect_failures = [var.tables]
}

run "maximum_is_none" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { events = { max_write_units = 0 } }
  }
  expect_failures = [var.tables]
}

run "maximum_is_not_whole" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { lanes = { max_read_units = 1.5 } }
  }
  expect_failures = [var.tables]
}

run "maximum_of_a_provisioned_table" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tables = { views = { billing_mode = "PROVISIONED", read_capacity = { min = 5, max = 10 }, write_capacity = { min = 5, max = 10 }, max_read_units = 10 } }
  }
  expect_failures = [var.tables]
}

run "bus_forgets_too_soon" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    bus = { retention_hours = 23 }
  }
  expect_failures = [var.bus]
}

run "external_without_a_class" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    external = { transformation = "shop.external" }
  }
  expect_failures = [var.external]
}

run "external_lanes_are_unknown" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    external = { transformation = "shop.external:Orders", lanes = "mine" }
  }
  expect_failures = [var.external]
}

run "external_events_are_kept_too_short" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    external = { transformation = "shop.external:Orders", retention_hours = 23 }
  }
  expect_failures = [var.external]
}

run "external_events_are_kept_too_long" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    external = { transformation = "shop.external:Orders", retention_hours = 8761 }
  }
  expect_failures = [var.external]
}

run "external_without_a_bus" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    external = { transformation = "shop.external:Orders" }
    bus      = { enabled = false }
  }
  expect_failures = [var.external]
}

run "claims_without_a_type" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    claims      = { optimistic = [] }
  }
  expect_failures = [var.claims]
}

run "claims_of_no_stream_type" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    claims      = { optimistic = ["nick#name"] }
  }
  expect_failures = [var.claims]
}

run "claims_with_a_compensation_that_is_no_name" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    claims      = { optimistic = ["nickname"], compensation = "shop.claims" }
  }
  expect_failures = [var.claims]
}

run "claims_without_a_projector" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    claims = { optimistic = ["nickname"] }
  }
  expect_failures = [var.claims]
}

run "personal_key_is_an_arn" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    personal_data = { key = "arn:aws:kms:us-east-1:123456789012:key/mrk-1234abcd12ab34cd56ef1234567890ab" }
  }
  expect_failures = [var.personal_data]
}

run "personal_key_is_of_one_region" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    personal_data = { key = "1234abcd-12ab-34cd-56ef-1234567890ab" }
  }
  expect_failures = [var.personal_data]
}

run "personal_key_is_an_alias" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    personal_data = { key = "alias/personal" }
  }
  expect_failures = [var.personal_data]
}

run "personal_key_is_a_file" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    personal_data = { key = "file:/tmp/key" }
  }
  expect_failures = [var.personal_data]
}

run "api_without_projections" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    api = { enabled = true }
  }
  expect_failures = [var.api]
}

run "api_memory_is_too_small" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    api         = { enabled = true, memory_mb = 64 }
  }
  expect_failures = [var.api]
}

run "api_timeout_is_too_long" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    api         = { enabled = true, timeout_seconds = 901 }
  }
  expect_failures = [var.api]
}

run "api_concurrency_is_none" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    projections = ["shop.views:Orders"]
    api         = { enabled = true, reserved_concurrency = 0 }
  }
  expect_failures = [var.api]
}

run "copies_of_no_stream_type" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    copies = { "account/7" = 2 }
  }
  expect_failures = [var.copies]
}

run "more_copies_than_regions" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    copies = { account = 4 }
  }
  expect_failures = [var.copies]
}

run "no_copy_at_all" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    copies = { account = 0 }
  }
  expect_failures = [var.copies]
}

run "half_a_copy" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    copies = { account = 1.5 }
  }
  expect_failures = [var.copies]
}

run "fence_of_no_stream_type" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    fences = { checked = ["account/7"] }
  }
  expect_failures = [var.fences]
}

run "fences_of_all_and_some" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    fences = { checked = ["*", "account"] }
  }
  expect_failures = [var.fences]
}

run "fence_lease_is_too_short" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    fences = { lease_seconds = 0.4 }
  }
  expect_failures = [var.fences]
}

run "fence_lease_is_too_long" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    fences = { lease_seconds = 61 }
  }
  expect_failures = [var.fences]
}

run "heartbeat_threshold_is_below_what_a_healthy_region_has" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    thresholds = { heartbeat_seconds = 119 }
  }
  expect_failures = [var.thresholds]
}

run "lag_threshold_is_below_the_window" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    mapping    = { window_seconds = 60 }
    thresholds = { lag_seconds = 60 }
  }
  expect_failures = [var.thresholds]
}

run "threshold_is_zero" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    thresholds = { lag_seconds = 0 }
  }
  expect_failures = [var.thresholds]
}

run "emulator_is_not_on_this_machine" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    emulator = { endpoints = { us-east-1 = "http://127.0.0.1:4566", eu-west-1 = "http://127.0.0.1:4567", ap-southeast-2 = "http://emulator.example.com:4566" } }
  }
  expect_failures = [var.emulator]
}

run "emulator_only_looks_like_this_machine" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    emulator = { endpoints = { us-east-1 = "http://127.0.0.1:4566", eu-west-1 = "http://127.0.0.1:4567", ap-southeast-2 = "http://localhost:4566@example.com" } }
  }
  expect_failures = [var.emulator]
}

run "emulator_lacks_a_region" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    emulator = { endpoints = { us-east-1 = "http://127.0.0.1:4566", eu-west-1 = "http://127.0.0.1:4567" } }
  }
  expect_failures = [var.emulator]
}

run "emulator_settings_in_a_real_account" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    emulator = { endpoints = { us-east-1 = "http://127.0.0.1:4566", eu-west-1 = "http://127.0.0.1:4567", ap-southeast-2 = "http://localhost:4568" } }
  }
  expect_failures = [data.aws_caller_identity.current]
}

run "tag_of_aws" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tags = { "aws:team" = "platform" }
  }
  expect_failures = [var.tags]
}

run "tag_is_too_long" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tags = { Team = join("", [for n in range(257) : "x"]) }
  }
  expect_failures = [var.tags]
}

run "tags_are_too_many" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tags = { for n in range(50) : "tag-${n}" => "x" }
  }
  expect_failures = [var.tags]
}

run "tag_names_another_system" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    tags = { Meridian = "other" }
  }
  expect_failures = [var.tags]
}

run "boundary_is_a_name" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    permissions_boundary = "boundary"
  }
  expect_failures = [var.permissions_boundary]
}

run "boundary_is_a_role" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    permissions_boundary = "arn:aws:iam::123456789012:role/boundary"
  }
  expect_failures = [var.permissions_boundary]
}

run "path_does_not_end_in_a_slash" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    role_path = "/platform"
  }
  expect_failures = [var.role_path]
}

run "path_has_a_space" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    role_path = "/platform team/"
  }
  expect_failures = [var.role_path]
}

run "key_is_of_another_region" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    kms_key = { arn = "arn:aws:kms:eu-west-1:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab" }
  }
  expect_failures = [var.kms_key]
}

run "key_is_an_alias" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    kms_key = { arn = "arn:aws:kms:us-east-1:123456789012:alias/ours" }
  }
  expect_failures = [var.kms_key]
}

run "key_has_no_arn" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    kms_key = { arn = null }
  }
  expect_failures = [var.kms_key]
}

run "signing_is_of_another_region" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    code_signing_config_arn = "arn:aws:lambda:eu-west-1:123456789012:code-signing-config:csc-0123456789abcdef0"
  }
  expect_failures = [var.code_signing_config_arn]
}

run "signing_is_a_profile" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    code_signing_config_arn = "arn:aws:signer:us-east-1:123456789012:/signing-profiles/ours"
  }
  expect_failures = [var.code_signing_config_arn]
}

run "account_is_a_name" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    accounts = { us-east-1 = "prod", eu-west-1 = "222222222222", ap-southeast-2 = "333333333333" }
  }
  expect_failures = [var.accounts]
}

run "account_of_a_peer_is_missing" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    accounts = { us-east-1 = "123456789012", eu-west-1 = "222222222222" }
  }
  expect_failures = [var.accounts]
}

run "account_of_a_stranger" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    accounts = { us-east-1 = "123456789012", eu-west-1 = "222222222222", ap-southeast-2 = "333333333333", sa-east-1 = "333333333333" }
  }
  expect_failures = [var.accounts]
}

run "prefix_is_too_long_for_two_accounts" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    accounts = { us-east-1 = "123456789012", eu-west-1 = "222222222222", ap-southeast-2 = "333333333333" }
    prefix   = "abcdefghijklmnopqrstuvwxyz12"
  }
  expect_failures = [var.accounts]
}

run "personal_data_in_two_accounts" {
  command = plan
  module {
    source = "./modules/region"
  }
  variables {
    accounts      = { us-east-1 = "123456789012", eu-west-1 = "222222222222", ap-southeast-2 = "333333333333" }
    personal_data = { key = "mrk-1234abcd12ab34cd56ef1234567890ab" }
  }
  expect_failures = [var.accounts]
}

# In the root: a workspace bears its region's name, and `default` must be allowed.

run "workspace_is_not_the_regions" {
  command         = plan
  expect_failures = [var.region]
}
