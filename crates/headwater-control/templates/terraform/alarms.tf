# What somebody has to know of before readers notice.

resource "aws_sns_topic" "alarms" {
  name              = "{{ it.name }}-alarms"
  kms_master_key_id = aws_kms_key.main.arn
}

resource "aws_sns_topic_subscription" "alarms" {
  topic_arn = aws_sns_topic.alarms.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}
{%- for alarm in it.alarms() %}

resource "aws_cloudwatch_metric_alarm" "{{ alarm.id }}" {
  alarm_name          = "{{ it.name }}-{{ alarm.slug() }}"
  alarm_description   = "{{ alarm.about }}"
  namespace           = "{{ alarm.namespace }}"
  metric_name         = "{{ alarm.metric }}"
  statistic           = "{{ alarm.statistic }}"
  comparison_operator = "{{ alarm.comparison() }}"
  threshold           = {{ alarm.threshold }}
  period              = {{ alarm.period }}
  evaluation_periods  = {{ alarm.periods }}
  treat_missing_data  = "{{ alarm.missing }}"
  alarm_actions       = [aws_sns_topic.alarms.arn]
  ok_actions          = [aws_sns_topic.alarms.arn]

  dimensions = {
    {{ alarm.dimension }} = {{ alarm.terraform }}
  }
}
{%- endfor %}
