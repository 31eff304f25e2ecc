{% if let Some(first) = it.copy_of -%}
# A copy of what is in {{ first }}, as a module of the folder above: nothing here is applied by itself.

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
{%- else -%}
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
{%- endif %}

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
  default     = "{{ it.cidr }}"
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
{%- if it.is_copy() %}

variable "machines" {
  description = "How many of Headwater's machines run here: none while the first region does, 2 when it is lost."
  type        = number
}
{%- endif %}
{%- endif %}
{%- if it.is_copy() %}
{%- if let Some(db) = it.database %}
{%- if db.aurora %}

variable "global_cluster" {
  description = "What the database's cluster here belongs to."
  type        = string
}
{%- else %}

variable "source_arn" {
  description = "The database that the one here copies."
  type        = string
}
{%- endif %}
{%- endif %}
{%- endif %}
