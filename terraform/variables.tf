# What a region can be told. The rules that values must keep, and the defaults of whatever is left out here, are in
# modules/region/variables.tf: one place for both.

variable "region" {
  type        = string
  description = "The AWS region to apply to, for example `us-east-1`."

  validation {
    condition     = terraform.workspace == var.region || (terraform.workspace == "default" && var.allow_default_workspace)
    error_message = "Workspace ${terraform.workspace} is not that of region ${var.region}. Run `terraform workspace select -or-create ${var.region}`, or give the variables of the workspace's own region. If you keep each region's state in a backend of its own instead, set allow_default_workspace."
  }
}

variable "allow_default_workspace" {
  type        = bool
  default     = false
  description = "Whether the workspace `default` may hold a region. Set it when each region's state has a backend of its own, so that the workspace need not tell them apart."
}

variable "peers" {
  type        = set(string)
  description = "The other regions that run Meridian, by name. Events of this region are copied to each of them. A region that is added or removed is added or removed here, in every other region."
}

variable "retired_peers" {
  type        = set(string)
  default     = []
  description = "Regions that ran Meridian once and were taken out of `peers`. Their events stay part of every stream; nothing is copied to them any more."
}

variable "prefix" {
  type        = string
  default     = "meridian"
  description = "What every name begins with. It must be the same in all regions. Changing it makes new tables, so it is chosen once."
}

variable "package" {
  type        = string
  default     = "../dist/meridian-lambda.zip"
  description = "The zip with the functions' code, as `make lambda` builds it. A relative path counts from the root module's directory."
}

variable "projections" {
  type        = list(string)
  default     = []
  description = "The projections to keep views of, each as `module:Class`. The modules must be in the package. Without any, no projector is deployed."
}

variable "protect_events" {
  type        = bool
  default     = true
  description = <<-EOT
    Whether nothing may destroy the events and control tables or the key that they are encrypted with: deletion protection,
    and `prevent_destroy`. With `true`, a destroy fails at plan. Setting it to `false` alone fails at plan as well. To give
    a region up, events included, say so for each in the state first:

        terraform state mv 'module.region.aws_dynamodb_table.protected_events[0]' 'module.region.aws_dynamodb_table.unprotected_events[0]'
        terraform state mv 'module.region.aws_dynamodb_table.protected_control[0]' 'module.region.aws_dynamodb_table.unprotected_control[0]'
        terraform state mv 'module.region.aws_kms_key.protected[0]' 'module.region.aws_kms_key.unprotected[0]'
        terraform apply -var-file=regions/<region>.tfvars -var protect_events=false
        terraform destroy -var-file=regions/<region>.tfvars -var protect_events=false

    To give the region up but leave its events behind, take the tables, the events' policy and the key out of the state
    instead. They then stay as they are, protected, and no longer belong to Terraform:

        terraform state rm 'module.region.aws_dynamodb_table.protected_events[0]' 'module.region.aws_dynamodb_table.protected_control[0]' module.region.aws_dynamodb_resource_policy.events 'module.region.aws_kms_key.protected[0]'
        terraform destroy -var-file=regions/<region>.tfvars

    Where the events table is provisioned (`tables.events.billing_mode`), its addresses are `protected_autoscaled_events`
    and `unprotected_autoscaled_events`.

    The table of keys of personal data, where there is one, is protected with the events, but must not stay when they do:
    take its deletion protection off with AWS's own tools before the last command. A key of yours (`kms_key`) is never
    Terraform's, so the commands then leave out the key.
  EOT
}

variable "log_retention_days" {
  type        = number
  default     = null
  description = "How many days the functions' logs are kept. The default is 365."
}

variable "log_level" {
  type        = string
  default     = null
  description = "How much the functions log: `debug`, `info`, `warning` or `error`. The default is `info`."
}

variable "alarms" {
  type = object({
    page = optional(object({
      topic_arn = optional(string)
      emails    = optional(set(string))
    }))
    ticket = optional(object({
      topic_arn = optional(string)
      emails    = optional(set(string))
    }))
  })
  default     = {}
  description = "Where alarms go, by severity: `page` for what has to wake somebody, `ticket` for what can wait for the morning. `emails` are mailed to (each gets a mail first and has to confirm it); anything else can subscribe to the topics in the output `alarm_topic_arns`. `topic_arn` uses a topic of yours in this region instead: its policy, and its key if it has one, must let CloudWatch publish."
}

variable "writer_principals" {
  type        = set(string)
  default     = []
  description = "ARNs of the accounts, roles or users that may assume the role for writers. Without any, the role is not made: attach the policy in the output `writer_policy_arn` to a role of your own."
}

variable "tags" {
  type        = map(string)
  default     = {}
  description = "Tags for everything that can bear tags. `Meridian = <prefix>` is always there."
}

variable "accounts" {
  type        = map(string)
  default     = null
  description = "The account of each region, this one and all peers, where not all are in one. Roles are then assumed between accounts. The same in every region."
}

variable "permissions_boundary" {
  type        = string
  default     = null
  description = "ARN of the policy that bounds the permissions of every role. It must allow what the roles' policies allow. Null sets no boundary."
}

variable "role_path" {
  type        = string
  default     = null
  description = "IAM path of every role and policy, `/` by default. A change makes them anew, under other ARNs: choose it once."
}

variable "kms_key" {
  type = object({
    arn = string
  })
  default     = null
  description = "A KMS key of yours, in this region, which encrypts in place of the one that Terraform makes. Its policy must allow what the output `key_policy` says. Choose it before the first apply. Null makes a key."
}

variable "code_signing_config_arn" {
  type        = string
  default     = null
  description = "ARN of a Lambda code signing configuration of this region, which every function gets. `package` must then be a zip that one of its signing profiles has signed. Null asks for no signature."
}

variable "function" {
  type = object({
    memory_mb            = optional(number)
    timeout_seconds      = optional(number)
    runtime              = optional(string)
    architecture         = optional(string)
    reserved_concurrency = optional(number)
    tracing              = optional(string)
  })
  default     = {}
  description = "How each function runs. The defaults are 512 MB, 120 seconds, `python3.13`, `arm64`, no reserved concurrency and `PassThrough` tracing."
}

variable "mapping" {
  type = object({
    batch_size           = optional(number)
    window_seconds       = optional(number)
    parallelization      = optional(number)
    retries              = optional(number)
    record_age_seconds   = optional(number)
    bisect               = optional(bool)
    catch_up_batch_size  = optional(number)
    catch_up_concurrency = optional(number)
    max_receives         = optional(number)
  })
  default     = {}
  description = "How functions are fed. From the stream: up to 500 records a batch, without waiting, 1 batch of a shard at once, 100 retries, records up to 6 hours old, failing batches halved. From a backlog: 10 messages a batch, 2 at once, and 10 attempts before the dead letters. `window_seconds` above 0 (60 at most) saves invocations and delays events by as much; `parallelization` above 1 gives events of one lane to concurrent batches, which wait for each other (docs/operating.md)."
}

variable "tables" {
  type = object({
    events = optional(object({
      billing_mode    = optional(string)
      table_class     = optional(string)
      read_capacity   = optional(object({ min = number, max = number }))
      write_capacity  = optional(object({ min = number, max = number }))
      utilization     = optional(number)
      max_read_units  = optional(number)
      max_write_units = optional(number)
    }))
    lanes = optional(object({
      read_capacity   = optional(object({ min = number, max = number }))
      write_capacity  = optional(object({ min = number, max = number }))
      utilization     = optional(number)
      max_read_units  = optional(number)
      max_write_units = optional(number)
    }))
    control = optional(object({
      billing_mode    = optional(string)
      table_class     = optional(string)
      read_capacity   = optional(object({ min = number, max = number }))
      write_capacity  = optional(object({ min = number, max = number }))
      utilization     = optional(number)
      max_read_units  = optional(number)
      max_write_units = optional(number)
    }))
    views = optional(object({
      billing_mode           = optional(string)
      table_class            = optional(string)
      read_capacity          = optional(object({ min = number, max = number }))
      write_capacity         = optional(object({ min = number, max = number }))
      utilization            = optional(number)
      max_read_units         = optional(number)
      max_write_units        = optional(number)
      point_in_time_recovery = optional(bool)
    }))
  })
  default     = {}
  description = <<-EOT
    How the tables are paid for, and how much they take: `events`, its index `lanes`, `control` and `views`. The defaults are
    `PAY_PER_REQUEST` without a cap, `STANDARD`, 70 percent, and no point-in-time recovery of views. Before you set
    `billing_mode`, read "Capacity of the tables" in docs/operating.md: the events table moves to another address.
  EOT
}

variable "bus" {
  type = object({
    enabled         = optional(bool)
    retention_hours = optional(number)
  })
  default     = {}
  description = "The event bus: a Kinesis stream that DynamoDB itself feeds with every new event. By default it is on exactly where `external` is set; `enabled = true` turns it on for consumers of your own. It keeps events for 24 hours."
}

variable "external" {
  type = object({
    transformation  = string
    lanes           = optional(string)
    retention_hours = optional(number)
  })
  default     = null
  description = "External events: the class that declares them, as `module:Class` (it must be in the package); which lanes are published here, `all` that arrive or this region's `own`; and how long the stream keeps them. The defaults are `all`, and the bus's hours. Null publishes nothing. Turns the bus on."
}

variable "claims" {
  type = object({
    optimistic   = set(string)
    compensation = optional(string)
  })
  default     = null
  description = "Unique values claimed by the optimistic rule: the stream types that are claims (`optimistic`), and what the owners of claims that lost are told (`compensation`, as `module:function`, in the package; without it one plain event). The projector then appends. Needs projections; claims with a home need nothing here."
}

variable "fences" {
  type = object({
    checked       = optional(list(string))
    lease_seconds = optional(number)
  })
  default     = {}
  description = "How appends keep to a region's fence: the stream types whose appends check it in their own transaction (`checked`, or [\"*\"] for all), and for how long the others may rely on having looked (`lease_seconds`). The defaults are none, and 2 seconds. The same in every region."
}

variable "copies" {
  type        = map(number)
  default     = {}
  description = "How many regions an append waits for, this one included, by stream type, for example { account = 2 }; \"*\" is every other type. Writers then insert their events at peers themselves. { \"*\" = 1 } gives that right alone, to appends that ask for copies. The same in every region."
}

variable "personal_data" {
  type = object({
    key = string
  })
  default     = null
  description = "Personal data that can be forgotten: `key` is the id of a KMS multi-Region key, `mrk-…`, the same in every region; docs/operating.md says how to make it. The package must be built with `make lambda ERASURE=<architecture>`. Null makes no table of keys."
}

variable "api" {
  type = object({
    enabled              = optional(bool)
    memory_mb            = optional(number)
    timeout_seconds      = optional(number)
    reserved_concurrency = optional(number)
  })
  default     = {}
  description = "The HTTP API: a function behind a URL that takes requests signed with AWS credentials only. The defaults are off, the functions' memory, 30 seconds and the functions' reserved concurrency. Needs projections."
}

variable "thresholds" {
  type = object({
    lag_seconds           = optional(number)
    heartbeat_seconds     = optional(number)
    publish_lag_seconds   = optional(number)
    backlog_age_seconds   = optional(number)
    backlog_stuck_seconds = optional(number)
    iterator_age_seconds  = optional(number)
    bus_age_seconds       = optional(number)
    throttles_per_minute  = optional(number)
  })
  default     = {}
  description = "When alarms go off: lag of a link (60 seconds), age of a peer's newest heartbeat here (180), lag of external events (60), age of a backlog (300), age of a message that nobody takes (1800), age of the stream's records when they are read (300), age of an event that DynamoDB has not put on the bus (300), throttled requests of a table (10 a minute)."
}

variable "emulator" {
  type = object({
    endpoints   = map(string)
    environment = optional(map(string))
  })
  default     = null
  description = "For an emulator on this machine only: the loopback URL of every region, and more environment variables for the functions. The policies then do without conditions on what a request names. On AWS this stays null, and anything but a loopback URL is refused."
}
