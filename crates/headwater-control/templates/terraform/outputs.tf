output "vpc_id" {
  value = aws_vpc.main.id
}

output "clients_security_group_id" {
  description = "Give it to the application's machines."
  value       = aws_security_group.clients.id
}
{%- if it.is_copy() %}

output "key_arn" {
  description = "What encrypts copies that are made from the first region."
  value       = aws_kms_key.main.arn
}
{%- endif %}
{%- for output in it.outputs() %}

output "{{ output.id }}" {
  description = "{{ output.about }}"
  value       = {{ output.terraform }}
}
{%- endfor %}
