# Every example is planned. No account, credentials or network needed.

mock_provider "aws" {
  source = "./tests/mocks"
}

variables {
  package = "tests/package.zip"
}

run "one_region" {
  command = plan
  module {
    source = "./examples/one-region"
  }

  assert {
    condition     = output.environment.MERIDIAN_PEERS == "eu-west-1"
    error_message = "the region does not know its peer"
  }
}

run "three_regions_us_east_1" {
  command = plan
  module {
    source = "./examples/three-regions"
  }
  variables {
    region = "us-east-1"
  }
}

run "three_regions_eu_west_1" {
  command = plan
  module {
    source = "./examples/three-regions"
  }
  variables {
    region = "eu-west-1"
  }
}

run "three_regions_ap_southeast_2" {
  command = plan
  module {
    source = "./examples/three-regions"
  }
  variables {
    region = "ap-southeast-2"
  }
}

run "a_fourth_region" {
  command = plan
  module {
    source = "./examples/three-regions"
  }
  variables {
    region = "sa-east-1"
  }
  expect_failures = [var.region]
}

run "personal_data" {
  command = plan
  module {
    source = "./examples/personal-data"
  }
  variables {
    personal_data_key = "mrk-1234abcd12ab34cd56ef1234567890ab"
  }
}

run "own_key_and_topic" {
  command = plan
  module {
    source = "./examples/own-key-and-topic"
  }
  variables {
    page_topic_arn          = "arn:aws:sns:us-east-1:123456789012:pages"
    ticket_topic_arn        = "arn:aws:sns:us-east-1:123456789012:tickets"
    permissions_boundary    = "arn:aws:iam::123456789012:policy/boundary"
    code_signing_config_arn = "arn:aws:lambda:us-east-1:123456789012:code-signing-config:csc-0123456789abcdef0"
  }

  assert {
    condition     = contains([for statement in jsondecode(aws_kms_key.meridian.policy).Statement : statement.Sid], "LogsOfFunctions")
    error_message = "the key's policy is not the one that the module asks for"
  }
}
