terraform {
  required_version = ">= 1.9"

  required_providers {
    # Refused, by the provider's own changelog and issues. terraform/README.md says more.
    # - 6.13.0 to 6.28.0 know the warm throughput of an index, and where it is not set they take the unchanged index `lanes` away
    #   and add it again with each plan, once DynamoDB has raised it: hashicorp/terraform-provider-aws#44692, #46281. Since 6.29.0
    #   (#46094) they leave it alone.
    # - 6.29.0 crashes where an index is known only while it is planned: #46195, corrected in 6.30.0.
    aws = {
      source  = "hashicorp/aws"
      version = ">= 5.100, != 6.13.0, != 6.14.0, != 6.14.1, != 6.15.0, != 6.16.0, != 6.17.0, != 6.18.0, != 6.19.0, != 6.20.0, != 6.21.0, != 6.22.0, != 6.22.1, != 6.23.0, != 6.24.0, != 6.25.0, != 6.26.0, != 6.27.0, != 6.28.0, != 6.29.0, < 7.0"
    }
  }
}
