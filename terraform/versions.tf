# State is local unless you say otherwise: one file per workspace. For a team, add a file of your own with a backend,
# for example `terraform { backend "s3" {} }`. Keep the state of a region outside that region: you will want it when the
# region is down.
terraform {
  required_version = ">= 1.9"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, < 7.0"
    }
  }
}
