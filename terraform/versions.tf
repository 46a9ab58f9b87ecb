# State is local unless you say otherwise: one file per workspace. For a team, add a file of your own with a backend,
# for example `terraform { backend "s3" {} }`. Keep the state of a region outside that region: you will want it when the
# region is down.
terraform {
  required_version = ">= 1.9"

  required_providers {
    # The reasons for each refused version stand in modules/region/versions.tf.
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, != 6.13.0, != 6.14.0, != 6.14.1, != 6.15.0, != 6.16.0, != 6.17.0, != 6.18.0, != 6.19.0, != 6.20.0, != 6.21.0, != 6.22.0, != 6.22.1, != 6.23.0, != 6.24.0, != 6.25.0, != 6.26.0, != 6.27.0, != 6.28.0, != 6.29.0, < 7.0"
    }
  }
}
