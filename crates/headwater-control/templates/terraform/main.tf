# {{ it.title }}
#
# Written by `headwater plan --emit terraform` for the plan of {{ it.monthly }} per month in {{ it.region }}; why each engine was
# chosen is in decisions/. State holds generated secrets: keep it encrypted, as the s3 backend does with encrypt = true.

terraform {
  required_version = ">= 1.6"

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
{%- if it.has_random() %}
    random = {
      source  = "hashicorp/random"
      version = "~> 3.6"
    }
{%- endif %}
  }
}

provider "aws" {
  region = "{{ it.region }}"

  default_tags {
    tags = {
      system     = "{{ it.name }}"
      managed-by = "terraform"
    }
  }
}

data "aws_caller_identity" "this" {}

variable "zones" {
  description = "{{ it.zones }} zones that your account has, by name: `aws ec2 describe-availability-zones` lists them."
  type        = list(string)
  default     = [{% for zone in it.zone_names() %}"{{ zone }}"{% if !loop.last %}, {% endif %}{% endfor %}]

  validation {
    condition     = length(var.zones) == {{ it.zones }}
    error_message = "The plan is for {{ it.zones }} zones."
  }
}

variable "vpc_cidr" {
  description = "Addresses of the network. A /16 leaves room for twelve more subnets like these."
  type        = string
  default     = "10.20.0.0/16"
}

variable "alarm_email" {
  description = "Who is told of alarms."
  type        = string
}
{%- if it.headwater %}

variable "artifacts_bucket" {
  description = "An S3 bucket with headwater (the program for Linux on arm64), headwater.toml and rds.pem: see README.md."
  type        = string
}
{%- endif %}
