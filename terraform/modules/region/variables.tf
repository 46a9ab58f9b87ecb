# Every input of a region, with its rules and defaults. `nullable = false`: null means "the default" here.

variable "region" {
  type        = string
  nullable    = false
  description = "The AWS region to apply to, for example `us-east-1`. The provider must be configured for the same region."

  validation {
    condition     = can(regex(local.region_form, var.region))
    error_message = "Region ${var.region} is not the name of an AWS region; give one such as us-east-1."
  }
}

variable "peers" {
  type        = set(string)
  nullable    = false
  description = "The other regions that run Meridian, by name."

  validation {
    condition     = length(var.peers) > 0
    error_message = "There are no peers; name at least one other region, for example [\"eu-west-1\"]."
  }

  validation {
    condition     = alltrue([for peer in var.peers : can(regex(local.region_form, peer))])
    error_message = "Peers ${join(", ", [for peer in var.peers : peer if !can(regex(local.region_form, peer))])} are not names of AWS regions; give names such as eu-west-1."
  }

  validation {
    condition     = !contains(var.peers, var.region)
    error_message = "Region ${var.region} is named as its own peer; list only the other regions."
  }
}

variable "retired_peers" {
  type        = set(string)
  nullable    = false
  default     = []
  description = "Regions that ran Meridian once. Their events stay part of every stream; nothing is copied to them."

  validation {
    condition     = alltrue([for peer in var.retired_peers : can(regex(local.region_form, peer))])
    error_message = "Retired peers ${join(", ", [for peer in var.retired_peers : peer if !can(regex(local.region_form, peer))])} are not names of AWS regions; give names such as eu-west-1."
  }

  validation {
    condition     = length(setintersection(var.retired_peers, setunion([var.region], var.peers))) == 0
    error_message = "${join(", ", setintersection(var.retired_peers, setunion([var.region], var.peers)))} is named both as retired and as running; name it once."
  }
}

variable "prefix" {
  type        = string
  nullable    = false
  default     = "meridian"
  description = "What every name begins with. It must be the same in all regions."

  # The longest name is the role <prefix>-<region>-projector-catch-up, of at most 64 characters, with regions of up to 15.
  validation {
    condition     = can(regex("^[A-Za-z0-9][A-Za-z0-9_-]{0,28}$", var.prefix))
    error_message = "Prefix ${var.prefix} cannot begin the names of queues, functions and roles; use 1 to 29 letters, digits, '_' and '-', the first a letter or digit."
  }
}

variable "package" {
  type        = string
  nullable    = false
  description = "Path of the zip with the functions' code, as `make lambda` builds it."

  validation {
    condition     = endswith(var.package, ".zip") && fileexists(var.package)
    error_message = "There is no zip at ${var.package}; build it with `make lambda`, or give its path as `package`."
  }
}

variable "projections" {
  type        = list(string)
  nullable    = false
  default     = []
  description = "The projections to keep views of, each as `module:Class`. Without any, no projector is deployed."

  validation {
    condition     = alltrue([for name in var.projections : can(regex(local.class_form, name))])
    error_message = "Projections ${join(", ", [for name in var.projections : name if !can(regex(local.class_form, name))])} are not written as module:Class; for example shop.views:Orders."
  }

  validation {
    condition     = length(distinct(var.projections)) == length(var.projections)
    error_message = "A projection is named twice in ${join(", ", var.projections)}; name each once."
  }
}

variable "protect_events" {
  type        = bool
  nullable    = false
  default     = true
  description = <<-EOT
    Whether nothing may destroy the events and control tables or the key that they are encrypted with: deletion protection,
    and `prevent_destroy`. `false` on a protected table fails at plan; `terraform state mv` the tables and the key from their
    protected to their unprotected addresses first. See the root module's variable of the same name for the commands.
  EOT
}

variable "log_retention_days" {
  type        = number
  nullable    = false
  default     = 365
  description = "How many days the functions' logs are kept."

  validation {
    condition = contains(
      [1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653],
      var.log_retention_days
    )
    error_message = "CloudWatch cannot keep logs for ${var.log_retention_days} days; choose 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288 or 3653."
  }
}

variable "accounts" {
  type        = map(string)
  nullable    = false
  default     = {}
  description = <<-EOT
    The account of each region, for example `{ us-east-1 = "111111111111", eu-west-1 = "222222222222" }`, where not all are in one:
    this region and all its peers. Each region then makes roles for its peers in other accounts, which their functions and
    applications assume. The same in every region, as are `prefix` and `role_path`. By default all are in this account.
  EOT

  validation {
    condition     = alltrue([for account in values(var.accounts) : can(regex("^[0-9]{12}$", account))])
    error_message = "Accounts ${join(", ", [for region, account in var.accounts : "${region} = ${account}" if !can(regex("^[0-9]{12}$", account))])} are not ids of AWS accounts; write each as 12 digits."
  }

  validation {
    condition     = length(var.accounts) == 0 || toset(keys(var.accounts)) == setunion([var.region], var.peers)
    error_message = "Accounts of ${join(", ", keys(var.accounts))} are given, and the regions are ${join(", ", setunion([var.region], var.peers))}; give the account of each, or leave `accounts` out."
  }

  # The longest name is then <prefix>-<region>-copy-<peer>.
  validation {
    condition     = length(distinct(values(var.accounts))) <= 1 || length(var.prefix) <= 27
    error_message = "Prefix ${var.prefix} is too long for the roles between accounts ${join(", ", distinct(values(var.accounts)))}; use 27 characters at most."
  }

  validation {
    condition     = length(distinct(values(var.accounts))) <= 1 || var.personal_data == null
    error_message = "Personal data needs one KMS multi-Region key, which is of one account, and accounts are ${join(", ", distinct(values(var.accounts)))}; leave `personal_data` out, or use one account."
  }
}

variable "tags" {
  type        = map(string)
  nullable    = false
  default     = {}
  description = "Tags of everything that can bear tags. `Meridian = <prefix>` is always there. An emulator gets none."

  # 50 is IAM's limit, and Meridian's own tag is one of them.
  validation {
    condition     = length(var.tags) <= 49 && alltrue([for key, value in var.tags : can(regex("^.{1,128}$", key)) && length(value) <= 256 && !startswith(lower(key), "aws:")])
    error_message = "Tags ${join(", ", [for key, value in var.tags : "${key} = ${value}"])} cannot be set on AWS; give 49 at most, keys of 1 to 128 characters that do not begin with aws:, and values of up to 256."
  }

  validation {
    condition     = lookup(var.tags, "Meridian", var.prefix) == var.prefix
    error_message = "The tag Meridian is ${lookup(var.tags, "Meridian", "")}, and names the system: ${var.prefix}; leave it out of `tags`."
  }
}

variable "permissions_boundary" {
  type        = string
  default     = null
  description = "ARN of the policy that bounds the permissions of every role that the module makes. It must allow what the roles' policies allow. Null sets no boundary."

  validation {
    condition     = var.permissions_boundary == null || can(regex(local.policy_form, var.permissions_boundary))
    error_message = "Permissions boundary ${coalesce(var.permissions_boundary, "null")} is not the ARN of an IAM policy; write for example arn:aws:iam::123456789012:policy/boundary."
  }
}

variable "role_path" {
  type        = string
  nullable    = false
  default     = "/"
  description = "IAM path of every role and policy that the module makes. A change makes them anew, under other ARNs: choose it once."

  validation {
    condition     = can(regex(local.path_form, var.role_path)) && length(var.role_path) <= 512
    error_message = "Role path ${var.role_path} is not an IAM path; write / or for example /platform/meridian/, which begins and ends with a slash."
  }
}

variable "kms_key" {
  type = object({
    arn = string
  })
  default     = null
  description = <<-EOT
    A KMS key of yours, in this region, which encrypts in place of the one that the module makes: tables, queues, streams, logs
    and settings. Its policy must allow what the output `key_policy` says. Choose it before the first apply: the module's own
    key is protected like the events. Null makes a key.
  EOT

  validation {
    condition     = var.kms_key == null || can(regex("^arn:aws[a-z-]*:kms:${var.region}:[0-9]{12}:key/[A-Za-z0-9-]+$", var.kms_key.arn))
    error_message = "Key ${try(coalesce(var.kms_key.arn), "null")} is not the ARN of a KMS key in ${var.region}; set kms_key.arn to one such as arn:aws:kms:${var.region}:123456789012:key/1234abcd-12ab-34cd-56ef-1234567890ab, without an alias."
  }
}

variable "code_signing_config_arn" {
  type        = string
  default     = null
  description = "ARN of a Lambda code signing configuration of this region, which every function gets. `package` must then be a zip that one of its signing profiles has signed. Null asks for no signature."

  validation {
    condition     = var.code_signing_config_arn == null || can(regex("^arn:aws[a-z-]*:lambda:${var.region}:[0-9]{12}:code-signing-config:csc-[a-z0-9]{17}$", var.code_signing_config_arn))
    error_message = "Code signing configuration ${coalesce(var.code_signing_config_arn, "null")} is not the ARN of one in ${var.region}; write for example arn:aws:lambda:${var.region}:123456789012:code-signing-config:csc-0123456789abcdef0."
  }
}

variable "log_level" {
  type        = string
  nullable    = false
  default     = "info"
  description = "How much the functions log: `debug`, `info`, `warning` or `error`."

  validation {
    condition     = contains(["debug", "info", "warning", "error"], var.log_level)
    error_message = "There is no log level ${var.log_level}; choose debug, info, warning or error."
  }
}

variable "alarms" {
  type = object({
    page = optional(object({
      topic_arn = optional(string)
      emails    = optional(set(string), [])
    }), {})
    ticket = optional(object({
      topic_arn = optional(string)
      emails    = optional(set(string), [])
    }), {})
  })
  nullable    = false
  default     = {}
  description = <<-EOT
    Where alarms go, by severity: `page` for what has to wake somebody, `ticket` for what can wait for the morning. Each has an
    SNS topic of its own, to which `emails` are subscribed (each has to confirm), or uses the topic of yours in this region that
    `topic_arn` names: its policy must let CloudWatch publish, and its key, if it has one, let CloudWatch use it.
  EOT

  validation {
    condition     = alltrue(flatten([for alarm in values(var.alarms) : [for address in alarm.emails : can(regex("^[^@\\s]+@[^@\\s]+\\.[^@\\s]+$", address))]]))
    error_message = "One of ${join(", ", flatten([for alarm in values(var.alarms) : tolist(alarm.emails)]))} is not a mail address; write each as name@example.com."
  }

  validation {
    condition     = alltrue([for alarm in values(var.alarms) : alarm.topic_arn == null || can(regex("^arn:aws[a-z-]*:sns:${var.region}:[0-9]{12}:[A-Za-z0-9_-]{1,256}$", alarm.topic_arn))])
    error_message = "One of ${join(", ", compact([for alarm in values(var.alarms) : alarm.topic_arn]))} is not the ARN of an SNS topic in ${var.region}; CloudWatch publishes to topics of its own region only."
  }

  validation {
    condition     = alltrue([for alarm in values(var.alarms) : alarm.topic_arn == null || length(alarm.emails) == 0])
    error_message = "Addresses are given for a topic that is yours; subscribe them there, or leave topic_arn out."
  }
}

variable "writer_principals" {
  type        = set(string)
  nullable    = false
  default     = []
  description = "ARNs of the accounts, roles or users that may assume the role for writers. Without any, the role is not made."

  validation {
    condition     = alltrue([for arn in var.writer_principals : can(regex(local.principal_form, arn))])
    error_message = "Writer principals ${join(", ", [for arn in var.writer_principals : arn if !can(regex(local.principal_form, arn))])} are not ARNs of an account, role or user; write for example arn:aws:iam::123456789012:role/shop, without wildcards."
  }
}

variable "function" {
  type = object({
    memory_mb            = optional(number, 512)
    timeout_seconds      = optional(number, 120)
    runtime              = optional(string, "python3.13")
    architecture         = optional(string, "arm64")
    reserved_concurrency = optional(number)
    tracing              = optional(string, "PassThrough")
  })
  nullable    = false
  default     = {}
  description = "How each function runs. `reserved_concurrency` counts for each function alone; null shares the account's."

  validation {
    condition     = var.function.memory_mb >= 128 && var.function.memory_mb <= 10240 && floor(var.function.memory_mb) == var.function.memory_mb
    error_message = "A function cannot have ${var.function.memory_mb} MB; set function.memory_mb to a whole number from 128 to 10240."
  }

  validation {
    condition     = var.function.timeout_seconds >= 1 && var.function.timeout_seconds <= 900 && floor(var.function.timeout_seconds) == var.function.timeout_seconds
    error_message = "A function cannot run for ${var.function.timeout_seconds} seconds; set function.timeout_seconds to a whole number from 1 to 900."
  }

  validation {
    condition     = can(regex("^python3\\.1[1-9]$", var.function.runtime))
    error_message = "Runtime ${var.function.runtime} does not run Meridian; set function.runtime to python3.11 or later, the one that the package was built for."
  }

  validation {
    condition     = contains(["arm64", "x86_64"], var.function.architecture)
    error_message = "There is no architecture ${var.function.architecture}; set function.architecture to arm64 or x86_64, the one that the package was built for."
  }

  validation {
    condition     = coalesce(var.function.reserved_concurrency, 1) >= 1
    error_message = "With a reserved concurrency of ${coalesce(var.function.reserved_concurrency, 0)} no function would run; set function.reserved_concurrency to 1 or more, or leave it out."
  }

  validation {
    condition     = contains(["PassThrough", "Active"], var.function.tracing)
    error_message = "There is no tracing mode ${var.function.tracing}; set function.tracing to PassThrough or Active."
  }
}

variable "mapping" {
  type = object({
    batch_size           = optional(number, 500)
    window_seconds       = optional(number, 0)
    parallelization      = optional(number, 1)
    retries              = optional(number, 100)
    record_age_seconds   = optional(number, 21600)
    bisect               = optional(bool, true)
    catch_up_batch_size  = optional(number, 10)
    catch_up_concurrency = optional(number, 2)
    max_receives         = optional(number, 10)
  })
  nullable    = false
  default     = {}
  description = <<-EOT
    How functions are fed. From the stream: `batch_size` records at most, waiting up to `window_seconds` for them (more
    seconds: fewer invocations, later events), `parallelization` batches of one shard at once, failing batches halved
    (`bisect`) and tried again `retries` times while their records are younger than `record_age_seconds`; -1 means without
    a limit. With `parallelization` above 1, events of one lane go to concurrent batches, which wait for each other. From a
    backlog: `catch_up_batch_size` messages, `catch_up_concurrency` batches at once, and `max_receives` attempts before a
    message goes to the dead letters.
  EOT

  validation {
    condition     = var.mapping.batch_size >= 1 && var.mapping.batch_size <= 1000
    error_message = "A batch cannot have ${var.mapping.batch_size} records; set mapping.batch_size from 1 to 1000."
  }

  validation {
    condition     = var.mapping.window_seconds >= 0 && var.mapping.window_seconds <= 60
    error_message = "A batch cannot wait ${var.mapping.window_seconds} seconds; set mapping.window_seconds from 0 to 60. Heartbeats wait with it, and more would page in a healthy region."
  }

  validation {
    condition     = var.mapping.parallelization >= 1 && var.mapping.parallelization <= 10
    error_message = "A shard cannot be read ${var.mapping.parallelization} times at once; set mapping.parallelization from 1 to 10."
  }

  validation {
    condition     = var.mapping.retries >= -1 && var.mapping.retries <= 10000
    error_message = "A batch cannot be tried again ${var.mapping.retries} times; set mapping.retries from 0 to 10000, or to -1 for no limit."
  }

  validation {
    condition     = var.mapping.record_age_seconds == -1 || (var.mapping.record_age_seconds >= 60 && var.mapping.record_age_seconds <= 86400)
    error_message = "A record cannot be tried for ${var.mapping.record_age_seconds} seconds; set mapping.record_age_seconds from 60 to 86400 (the stream keeps 24 hours), or to -1 for no limit."
  }

  validation {
    condition     = var.mapping.catch_up_batch_size >= 1 && var.mapping.catch_up_batch_size <= 10
    error_message = "A batch from a backlog cannot have ${var.mapping.catch_up_batch_size} messages; set mapping.catch_up_batch_size from 1 to 10."
  }

  validation {
    condition     = var.mapping.catch_up_concurrency >= 2 && var.mapping.catch_up_concurrency <= 1000
    error_message = "A backlog cannot be read ${var.mapping.catch_up_concurrency} times at once; set mapping.catch_up_concurrency from 2 to 1000 (AWS takes no less than 2)."
  }

  validation {
    condition     = var.mapping.max_receives >= 1 && var.mapping.max_receives <= 1000
    error_message = "A message cannot be tried ${var.mapping.max_receives} times; set mapping.max_receives from 1 to 1000."
  }
}

variable "tables" {
  type = object({
    events = optional(object({
      billing_mode    = optional(string, "PAY_PER_REQUEST")
      table_class     = optional(string, "STANDARD")
      read_capacity   = optional(object({ min = number, max = number }))
      write_capacity  = optional(object({ min = number, max = number }))
      utilization     = optional(number, 70)
      max_read_units  = optional(number)
      max_write_units = optional(number)
    }), {})
    lanes = optional(object({
      read_capacity   = optional(object({ min = number, max = number }))
      write_capacity  = optional(object({ min = number, max = number }))
      utilization     = optional(number, 70)
      max_read_units  = optional(number)
      max_write_units = optional(number)
    }), {})
    control = optional(object({
      billing_mode    = optional(string, "PAY_PER_REQUEST")
      table_class     = optional(string, "STANDARD")
      read_capacity   = optional(object({ min = number, max = number }))
      write_capacity  = optional(object({ min = number, max = number }))
      utilization     = optional(number, 70)
      max_read_units  = optional(number)
      max_write_units = optional(number)
    }), {})
    views = optional(object({
      billing_mode           = optional(string, "PAY_PER_REQUEST")
      table_class            = optional(string, "STANDARD")
      read_capacity          = optional(object({ min = number, max = number }))
      write_capacity         = optional(object({ min = number, max = number }))
      utilization            = optional(number, 70)
      max_read_units         = optional(number)
      max_write_units        = optional(number)
      point_in_time_recovery = optional(bool, false)
    }), {})
  })
  nullable    = false
  default     = {}
  description = <<-EOT
    How the tables are paid for, and how much they take. `lanes` is the index of the events table, and has the table's
    billing mode. On demand (`PAY_PER_REQUEST`), `max_read_units` and `max_write_units` cap what a second may use; null is
    no cap. -1 lifts a cap that was set, and then stays: the provider cannot take it out. With `PROVISIONED`, autoscaling keeps `read_capacity` and `write_capacity`
    between `min` and `max` units, so that `utilization` percent are used. The table of keys is always on demand.
  EOT

  validation {
    condition     = alltrue([for name, table in var.tables : contains(["PAY_PER_REQUEST", "PROVISIONED"], try(table.billing_mode, "PROVISIONED"))])
    error_message = "There is no billing mode ${join(", ", [for name, table in var.tables : "${table.billing_mode} (tables.${name})" if !contains(["PAY_PER_REQUEST", "PROVISIONED"], try(table.billing_mode, "PROVISIONED"))])}; set billing_mode to PAY_PER_REQUEST or PROVISIONED."
  }

  validation {
    condition     = alltrue([for name, table in var.tables : contains(["STANDARD", "STANDARD_INFREQUENT_ACCESS"], try(table.table_class, "STANDARD"))])
    error_message = "There is no table class ${join(", ", [for name, table in var.tables : "${table.table_class} (tables.${name})" if !contains(["STANDARD", "STANDARD_INFREQUENT_ACCESS"], try(table.table_class, "STANDARD"))])}; set table_class to STANDARD or STANDARD_INFREQUENT_ACCESS."
  }

  validation {
    condition     = alltrue([for name, table in var.tables : try(table.billing_mode, var.tables.events.billing_mode) != "PROVISIONED" || (table.read_capacity != null && table.write_capacity != null)])
    error_message = "Billing mode PROVISIONED lacks capacities of ${join(", ", [for name, table in var.tables : "tables.${name}" if try(table.billing_mode, var.tables.events.billing_mode) == "PROVISIONED" && (table.read_capacity == null || table.write_capacity == null)])}; set read_capacity and write_capacity there, for example to { min = 5, max = 100 }."
  }

  validation {
    condition     = alltrue([for name, table in var.tables : try(table.billing_mode, var.tables.events.billing_mode) == "PROVISIONED" || (table.read_capacity == null && table.write_capacity == null)])
    error_message = "Capacities are given to ${join(", ", [for name, table in var.tables : "tables.${name}" if try(table.billing_mode, var.tables.events.billing_mode) != "PROVISIONED" && (table.read_capacity != null || table.write_capacity != null)])}, which is on demand; set billing_mode to PROVISIONED (of tables.events for the index lanes), or leave read_capacity and write_capacity out."
  }

  validation {
    condition     = alltrue(flatten([for name, table in var.tables : [for capacity in [table.read_capacity, table.write_capacity] : try(capacity.min >= 1 && capacity.max >= capacity.min && floor(capacity.min) == capacity.min && floor(capacity.max) == capacity.max, capacity == null)]]))
    error_message = "Capacities ${join(", ", flatten([for name, table in var.tables : [for capacity in [table.read_capacity, table.write_capacity] : "min = ${capacity.min}, max = ${capacity.max} (tables.${name})" if !try(capacity.min >= 1 && capacity.max >= capacity.min && floor(capacity.min) == capacity.min && floor(capacity.max) == capacity.max, capacity == null)]]))} are not a range; set min to a whole number from 1, and max to one that is no less."
  }

  # From 20 to 90 percent: docs.aws.amazon.com/amazondynamodb/latest/developerguide/AutoScaling.html
  validation {
    condition     = alltrue([for name, table in var.tables : table.utilization >= 20 && table.utilization <= 90])
    error_message = "Autoscaling cannot aim at ${join(", ", [for name, table in var.tables : "${table.utilization} percent (tables.${name})" if table.utilization < 20 || table.utilization > 90])}; set utilization from 20 to 90."
  }

  validation {
    condition     = alltrue(flatten([for name, table in var.tables : [for units in [table.max_read_units, table.max_write_units] : units == null ? true : (units == -1 || units >= 1) && floor(units) == units]]))
    error_message = "A maximum cannot be ${join(", ", flatten([for name, table in var.tables : [for units in [table.max_read_units, table.max_write_units] : "${coalesce(units, 0)} units a second (tables.${name})" if !(units == null ? true : (units == -1 || units >= 1) && floor(units) == units)]]))}; set max_read_units and max_write_units to whole numbers from 1, or to -1 to lift one that was set."
  }

  validation {
    condition     = alltrue([for name, table in var.tables : try(table.billing_mode, var.tables.events.billing_mode) != "PROVISIONED" || (table.max_read_units == null && table.max_write_units == null)])
    error_message = "Maximum units are given to ${join(", ", [for name, table in var.tables : "tables.${name}" if try(table.billing_mode, var.tables.events.billing_mode) == "PROVISIONED" && (table.max_read_units != null || table.max_write_units != null)])}, which is provisioned; set the max of read_capacity and write_capacity instead."
  }
}

variable "bus" {
  type = object({
    enabled         = optional(bool)
    retention_hours = optional(number, 24)
  })
  nullable    = false
  default     = {}
  description = <<-EOT
    The event bus: a Kinesis stream that DynamoDB itself feeds with every new event. Without `enabled` it is on where
    somebody reads it: where `external` is set. `true` turns it on for consumers of your own.
  EOT

  validation {
    condition     = var.bus.retention_hours >= 24 && var.bus.retention_hours <= 8760
    error_message = "The bus cannot keep events for ${var.bus.retention_hours} hours; set bus.retention_hours from 24 to 8760."
  }
}

variable "external" {
  type = object({
    transformation  = string
    lanes           = optional(string, "all")
    retention_hours = optional(number)
  })
  default     = null
  description = <<-EOT
    External events: the class that declares them (`transformation`, as `module:Class`), which lanes are published here
    (`lanes`: `all` that arrive, or this region's `own`), and how long the stream keeps them (by default as long as the
    bus). Null publishes nothing. Turns the bus on.
  EOT

  validation {
    condition     = var.external == null || can(regex(local.class_form, var.external.transformation))
    error_message = "External events ${try(var.external.transformation, "")} are not written as module:Class; set external.transformation to for example shop.external:Orders."
  }

  validation {
    condition     = var.external == null || contains(["all", "own"], try(var.external.lanes, "all"))
    error_message = "There are no lanes ${try(var.external.lanes, "")} to publish; set external.lanes to all or own."
  }

  validation {
    condition     = try(coalesce(var.external.retention_hours), 24) >= 24 && try(coalesce(var.external.retention_hours), 24) <= 8760
    error_message = "The stream cannot keep external events for ${try(coalesce(var.external.retention_hours), 0)} hours; set external.retention_hours from 24 to 8760."
  }

  validation {
    condition     = var.external == null || coalesce(var.bus.enabled, true)
    error_message = "External events are published from the event bus, and bus.enabled is false; leave bus.enabled out, or leave `external` out."
  }
}

variable "claims" {
  type = object({
    optimistic   = set(string)
    compensation = optional(string)
  })
  default     = null
  description = <<-EOT
    Unique values claimed by the optimistic rule: the stream types that are claims (`optimistic`), and what the owners of
    claims that lost are told (`compensation`, as `module:function`; without it one plain event). The projector tells them,
    so it may then append under this region's own prefix. Needs projections. Claims with a home need nothing here.
  EOT

  validation {
    condition     = alltrue([for type in try(var.claims.optimistic, []) : can(regex("^[^#/,\\s]{1,128}$", type))])
    error_message = "Claims ${join(", ", try(var.claims.optimistic, []))} are not all stream types; set claims.optimistic to for example [\"nickname\"]."
  }

  validation {
    condition     = var.claims == null || length(try(var.claims.optimistic, [])) > 0
    error_message = "No stream type is claimed; set claims.optimistic to for example [\"nickname\"], or leave `claims` out."
  }

  validation {
    condition     = try(var.claims.compensation, null) == null || can(regex(local.class_form, var.claims.compensation))
    error_message = "Compensation ${try(coalesce(var.claims.compensation), "")} is not written as module:function; set claims.compensation to for example shop.claims:compensate."
  }

  validation {
    condition     = var.claims == null || length(var.projections) > 0
    error_message = "The projector settles claims, and there is none without projections; set `projections`, or leave `claims` out."
  }
}

variable "fences" {
  type = object({
    checked       = optional(list(string), [])
    lease_seconds = optional(number, 2)
  })
  nullable    = false
  default     = {}
  description = <<-EOT
    How appends keep to a region's fence, which a failover puts up: the stream types whose appends check it in their own
    transaction (`checked`, or ["*"] for all), and for how long the others may rely on having looked (`lease_seconds`).
    A failover waits that long.
  EOT

  validation {
    condition     = alltrue([for type in var.fences.checked : can(regex("^[^#/,\\s]{1,128}$", type))])
    error_message = "Checked fences ${join(", ", var.fences.checked)} are not all stream types; set fences.checked to for example [\"account\"], or to [\"*\"] for all."
  }

  validation {
    condition     = !contains(var.fences.checked, "*") || length(var.fences.checked) == 1
    error_message = "Checked fences ${join(", ", var.fences.checked)} name all stream types and some; set fences.checked to [\"*\"] alone, or to stream types."
  }

  validation {
    condition     = var.fences.lease_seconds >= 0.5 && var.fences.lease_seconds <= 60
    error_message = "A writer cannot rely on the fence for ${var.fences.lease_seconds} seconds; set fences.lease_seconds from 0.5 to 60."
  }
}

variable "copies" {
  type        = map(number)
  nullable    = false
  default     = {}
  description = <<-EOT
    How many regions an append waits for, this one included, by stream type: `{ account = 2 }`, and "*" for every other type.
    Writers then hand their events over to peers themselves, and have the right to insert them there. `{ "*" = 1 }` gives that
    right alone, to appends that ask for copies. The same in every region.
  EOT

  validation {
    condition     = alltrue([for type in keys(var.copies) : can(regex("^[^#/,=\\s]{1,128}$", type))])
    error_message = "Copies of ${join(", ", keys(var.copies))} are not all of stream types; set copies to for example { account = 2 }."
  }

  validation {
    condition     = alltrue([for number in values(var.copies) : number >= 1 && number <= 1 + length(var.peers) && floor(number) == number])
    error_message = "Copies ${join(", ", [for type, number in var.copies : "${type} = ${number}"])} cannot be held by ${1 + length(var.peers)} regions; give whole numbers from 1 to ${1 + length(var.peers)}."
  }

  validation {
    condition     = length(var.copies) == 0 || length(distinct(values(var.accounts))) <= 1
    error_message = "Writers hand events over within one account, and accounts are ${join(", ", distinct(values(var.accounts)))}; leave `copies` out, or use one account."
  }
}

variable "personal_data" {
  type = object({
    key = string
  })
  default     = null
  description = <<-EOT
    Personal data that can be forgotten: a table of keys, one for each subject, and the KMS key that wraps them. `key` is
    the id of a multi-Region key, the same in every region. Null makes no table.
  EOT

  validation {
    condition     = var.personal_data == null || can(regex("^mrk-[0-9a-f]{32}$", var.personal_data.key))
    error_message = "Key ${try(var.personal_data.key, "")} is not the id of a KMS multi-Region key; set personal_data.key to one such as mrk-1234abcd12ab34cd56ef1234567890ab, without an ARN or alias around it, the same in every region."
  }
}

variable "api" {
  type = object({
    enabled              = optional(bool, false)
    memory_mb            = optional(number)
    timeout_seconds      = optional(number, 30)
    reserved_concurrency = optional(number)
  })
  nullable    = false
  default     = {}
  description = "The HTTP API: a function behind a URL that takes signed requests only. Memory and concurrency are the functions' unless given. Needs projections."

  validation {
    condition     = !var.api.enabled || length(var.projections) > 0
    error_message = "The API answers with projections' values, and there are none; set `projections`, or api.enabled to false."
  }

  validation {
    condition     = coalesce(var.api.memory_mb, 128) >= 128 && coalesce(var.api.memory_mb, 128) <= 10240 && floor(coalesce(var.api.memory_mb, 128)) == coalesce(var.api.memory_mb, 128)
    error_message = "The API cannot have ${coalesce(var.api.memory_mb, 0)} MB; set api.memory_mb to a whole number from 128 to 10240."
  }

  validation {
    condition     = var.api.timeout_seconds >= 1 && var.api.timeout_seconds <= 900 && floor(var.api.timeout_seconds) == var.api.timeout_seconds
    error_message = "The API cannot take ${var.api.timeout_seconds} seconds for a request; set api.timeout_seconds to a whole number from 1 to 900."
  }

  validation {
    condition     = coalesce(var.api.reserved_concurrency, 1) >= 1
    error_message = "With a reserved concurrency of ${coalesce(var.api.reserved_concurrency, 0)} the API would answer nobody; set api.reserved_concurrency to 1 or more, or leave it out."
  }
}

variable "thresholds" {
  type = object({
    lag_seconds           = optional(number, 60)
    heartbeat_seconds     = optional(number, 180)
    publish_lag_seconds   = optional(number, 60)
    backlog_age_seconds   = optional(number, 300)
    backlog_stuck_seconds = optional(number, 1800)
    iterator_age_seconds  = optional(number, 300)
    bus_age_seconds       = optional(number, 300)
    throttles_per_minute  = optional(number, 10)
  })
  nullable    = false
  default     = {}
  description = "When alarms go off. An alarm goes off above its threshold, not at it."

  validation {
    condition     = alltrue([for value in values(var.thresholds) : value > 0])
    error_message = "Thresholds ${join(", ", [for name, value in var.thresholds : "${name} = ${value}" if value <= 0])} would always alarm; give numbers above 0."
  }

  validation {
    condition     = var.thresholds.heartbeat_seconds >= 120 + var.mapping.window_seconds
    error_message = "A heartbeat comes every minute, so thresholds.heartbeat_seconds = ${var.thresholds.heartbeat_seconds} would page in a healthy region; set 120 or more, and mapping.window_seconds besides."
  }

  validation {
    condition     = var.thresholds.lag_seconds > var.mapping.window_seconds
    error_message = "Events wait up to ${var.mapping.window_seconds} seconds for a batch, so thresholds.lag_seconds = ${var.thresholds.lag_seconds} would always alarm; set it above mapping.window_seconds."
  }
}

variable "emulator" {
  type = object({
    endpoints   = map(string)
    environment = optional(map(string), {})
  })
  default     = null
  description = <<-EOT
    For an emulator on this machine only: the loopback URL of every region, and more environment variables for the
    functions. The policies then do without conditions on what a request names, which emulators do not tell. On AWS this
    stays null. Loopback URLs alone are taken, and only the emulators' account 000000000000, so that these weaker settings
    cannot reach a real account.
  EOT

  validation {
    condition     = alltrue([for url in values(try(var.emulator.endpoints, {})) : can(regex(local.loopback_form, url))])
    error_message = "Endpoints ${join(", ", [for url in values(try(var.emulator.endpoints, {})) : url if !can(regex(local.loopback_form, url))])} are not on this machine; write http://127.0.0.1:<port>, and leave `emulator` out on AWS."
  }

  validation {
    condition     = var.emulator == null || length(setsubtract(setunion([var.region], var.peers), keys(try(var.emulator.endpoints, {})))) == 0
    error_message = "The emulator's endpoints lack ${join(", ", setsubtract(setunion([var.region], var.peers), keys(try(var.emulator.endpoints, {}))))}; give the URL of every region."
  }
}
