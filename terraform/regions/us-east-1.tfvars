region = "us-east-1"
peers  = ["eu-west-1", "ap-southeast-2"]
