region = "ap-southeast-2"
peers  = ["us-east-1", "eu-west-1"]
