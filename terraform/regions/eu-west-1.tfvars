region = "eu-west-1"
peers  = ["us-east-1", "ap-southeast-2"]
