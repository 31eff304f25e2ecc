{% if !it.copies.is_empty() -%}
# Copies in other regions: one folder each, with what the plan has priced there.
{%- for copy in it.copies %}

provider "aws" {
  alias  = "{{ copy.id }}"
  region = "{{ copy.region }}"

  default_tags {
    tags = {
      system     = "{{ it.name }}"
      managed-by = "terraform"
    }
  }
}
{%- if it.headwater %}

variable "artifacts_bucket_{{ copy.id }}" {
  description = "As artifacts_bucket, in {{ copy.region }}: with that folder's headwater.stores.toml in its headwater.toml."
  type        = string
}

variable "machines_{{ copy.id }}" {
  description = "How many of Headwater's machines run in {{ copy.region }}: 2 when this region is lost and the database there is promoted."
  type        = number
  default     = 0
}
{%- endif %}

module "{{ copy.id }}" {
  source    = "./{{ copy.region }}"
  providers = { aws = aws.{{ copy.id }} }

  alarm_email = var.alarm_email
{%- if it.headwater %}

  artifacts_bucket = var.artifacts_bucket_{{ copy.id }}
  machines         = var.machines_{{ copy.id }}
{%- endif %}
{%- if let Some(db) = it.database %}
{%- if db.aurora %}

  # A cluster joins where the first one has a machine.
  global_cluster = aws_rds_global_cluster.source.id
  depends_on     = [aws_rds_cluster_instance.source]
{%- else %}

  source_arn = aws_db_instance.source.arn
{%- endif %}
{%- endif %}
}
{%- endfor %}
{%- endif %}
