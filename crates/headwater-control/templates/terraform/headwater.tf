# Headwater itself: two machines, of which one works and one takes over. What they hold can be made again.
{%- if it.is_copy() %} None runs here
# while the first region does: only one may follow the database.{% endif %}

data "aws_ssm_parameter" "image" {
  name = "/aws/service/ami-amazon-linux-latest/al2023-ami-kernel-default-arm64"
}

resource "aws_iam_role" "headwater" {
  name = "{{ it.account_name() }}-headwater"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

# What it needs, and nothing else.
resource "aws_iam_role_policy" "headwater" {
  name = "headwater"
  role = aws_iam_role.headwater.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "ReadsItsSecrets"
        Effect   = "Allow"
        Action   = "secretsmanager:GetSecretValue"
        Resource = [{% for secret in it.secrets() %}{{ it.secret_arn(secret) }}{% if !loop.last %}, {% endif %}{% endfor %}]
      },
      {
        Sid      = "DecryptsThroughTheServicesItUses"
        Effect   = "Allow"
        Action   = "kms:Decrypt"
        Resource = aws_kms_key.main.arn
        Condition = {
          StringEquals = {
            "kms:ViaService" = [{% for service in it.key_users() %}"{{ service }}.{{ it.region }}.amazonaws.com"{% if !loop.last %}, {% endif %}{% endfor %}]
          }
        }
      },
      {
        Sid      = "ReadsItsProgramAndFile"
        Effect   = "Allow"
        Action   = "s3:GetObject"
        Resource = [for object in ["headwater", "headwater.toml", "rds.pem"] : "arn:aws:s3:::${var.artifacts_bucket}/${object}"]
      },
{%- if !it.tables.is_empty() %}
      {
        Sid    = "KeepsItsTables"
        Effect = "Allow"
        Action = [
          "dynamodb:DescribeTable", "dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:Scan",
          "dynamodb:PutItem", "dynamodb:DeleteItem", "dynamodb:BatchWriteItem",
        ]
        Resource = [
{%- for table in it.tables %}
{%- if it.is_copy() %}
          "arn:aws:dynamodb:{{ it.region }}:${data.aws_caller_identity.this.account_id}:table/{{ table.name }}",
{%- else %}
          aws_dynamodb_table.{{ table.id }}.arn,
{%- endif %}
{%- endfor %}
        ]
      },
{%- endif %}
    ]
  })
}

resource "aws_iam_instance_profile" "headwater" {
  name = "{{ it.account_name() }}-headwater"
  role = aws_iam_role.headwater.name
}

resource "aws_launch_template" "headwater" {
  name          = "{{ it.name }}-headwater"
  image_id      = data.aws_ssm_parameter.image.insecure_value
  instance_type = "{{ it.machine }}"
  ebs_optimized = true

  iam_instance_profile {
    arn = aws_iam_instance_profile.headwater.arn
  }

  network_interfaces {
    associate_public_ip_address = false
    security_groups             = [aws_security_group.headwater.id]
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  monitoring {
    enabled = true
  }

  # The journal: as large as [journal] max and room for the mirror. Not part of the plan's bill.
  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type = "gp3"
      volume_size = {{ it.disk_gb }}
      encrypted   = true
    }
  }

  user_data = base64encode(templatefile("${path.module}/headwater.sh.tftpl", {
{%- for variable in it.variables() %}
    {{ variable.padded() }} = {{ variable.terraform }}
{%- endfor %}
  }))
}

resource "aws_autoscaling_group" "headwater" {
  name                = "{{ it.name }}-headwater"
{%- if it.is_copy() %}
  min_size            = 0
  max_size            = 2
  desired_capacity    = var.machines
{%- else %}
  min_size            = 2
  max_size            = 2
  desired_capacity    = 2
{%- endif %}
  vpc_zone_identifier = aws_subnet.private[*].id
  health_check_type   = "EC2"
  enabled_metrics     = ["GroupInServiceInstances"]

  launch_template {
    id      = aws_launch_template.headwater.id
    version = aws_launch_template.headwater.latest_version
  }

  tag {
    key                 = "Name"
    value               = "{{ it.name }}-headwater"
    propagate_at_launch = true
  }
}
