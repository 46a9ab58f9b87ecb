# A heartbeat every minute: an event that travels like any other, so that an idle link that is dead looks different from an idle
# one that is well. docs/decisions/0040-heartbeats.md

resource "aws_cloudwatch_event_rule" "heartbeat" {
  name                = "${var.prefix}-heartbeat"
  description         = "Meridian ${var.prefix}: this region's heartbeat"
  schedule_expression = "rate(1 minute)"
  tags                = local.tags
}

resource "aws_cloudwatch_event_target" "heartbeat" {
  rule = aws_cloudwatch_event_rule.heartbeat.name
  arn  = aws_lambda_function.function["heartbeat"].arn

  # One that is late is worth nothing: the next one follows.
  retry_policy {
    maximum_event_age_in_seconds = 60
    maximum_retry_attempts       = 0
  }
}

# Nor is one worth a retry by Lambda, which calls the function asynchronously.
resource "aws_lambda_function_event_invoke_config" "heartbeat" {
  function_name                = aws_lambda_function.function["heartbeat"].function_name
  maximum_event_age_in_seconds = 60
  maximum_retry_attempts       = 0
}

resource "aws_lambda_permission" "heartbeat" {
  statement_id  = "heartbeat"
  action        = "lambda:InvokeFunction"
  function_name = aws_lambda_function.function["heartbeat"].function_name
  principal     = "events.amazonaws.com"
  source_arn    = local.heartbeat_rule_arn
}
