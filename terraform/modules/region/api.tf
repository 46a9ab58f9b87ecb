# The HTTP API behind a function URL.

resource "aws_lambda_function_url" "api" {
  count = local.api ? 1 : 0

  function_name = aws_lambda_function.function["api"].function_name

  # Never NONE: that would let anybody in the world append events and read them. Who may call is said by IAM, and whoever
  # wants to let others in puts something in front that knows them, and that signs.
  authorization_type = "AWS_IAM"
}
