# One key for everything at rest. Who may use it is said here and nowhere else.

resource "aws_kms_key" "main" {
  description             = "{{ it.name }}: data, backups, secrets, logs"
  enable_key_rotation     = true
  deletion_window_in_days = 30

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "TheAccountAdministers"
        Effect    = "Allow"
        Action    = "kms:*"
        Resource  = "*"
        Principal = { AWS = "arn:aws:iam::${data.aws_caller_identity.this.account_id}:root" }
      },
      {
        Sid       = "LogsAreEncrypted"
        Effect    = "Allow"
        Action    = ["kms:Encrypt", "kms:Decrypt", "kms:ReEncrypt*", "kms:GenerateDataKey*", "kms:Describe*"]
        Resource  = "*"
        Principal = { Service = "logs.{{ it.region }}.amazonaws.com" }
        Condition = {
          ArnLike = { "kms:EncryptionContext:aws:logs:arn" = "arn:aws:logs:{{ it.region }}:${data.aws_caller_identity.this.account_id}:log-group:*" }
        }
      },
      {
        Sid       = "AlarmsReachTheirTopic"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey*"]
        Resource  = "*"
        Principal = { Service = "cloudwatch.amazonaws.com" }
        Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.this.account_id } }
      },
    ]
  })
}

resource "aws_kms_alias" "main" {
  name          = "alias/{{ it.name }}"
  target_key_id = aws_kms_key.main.key_id
}
{%- for secret in it.own_secrets() %}

# {{ secret.about }}
resource "random_password" "{{ secret.id }}" {
  length  = 40
  special = false
}

resource "aws_secretsmanager_secret" "{{ secret.id }}" {
  #checkov:skip=CKV2_AWS_57:{{ secret.unrotated }}
  name        = "{{ it.name }}/{{ secret.slug() }}"
  description = "{{ secret.about }}"
  kms_key_id  = aws_kms_key.main.arn
{%- if secret.replicated %}
{%- for copy in it.copies %}

  replica {
    region     = "{{ copy.region }}"
    kms_key_id = module.{{ copy.id }}.key_arn
  }
{%- endfor %}
{%- endif %}
}

resource "aws_secretsmanager_secret_version" "{{ secret.id }}" {
  secret_id     = aws_secretsmanager_secret.{{ secret.id }}.id
  secret_string = random_password.{{ secret.id }}.result
}
{%- endfor %}
