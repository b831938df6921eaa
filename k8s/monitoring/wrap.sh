#!/bin/sh
# Print the rules as objects of Kubernetes: sh k8s/monitoring/wrap.sh PrometheusRule https://docs.example.com/ | kubectl apply -f -
#   PrometheusRule   kube-prometheus-stack and every other Prometheus operator
#   Rules            Google Cloud Managed Service for Prometheus
# The second word is where your documentation is, for the alerts' links; without it they lead to the placeholder.
set -eu
case "${1:-}" in
  PrometheusRule) version=monitoring.coreos.com/v1 ;;
  Rules) version=monitoring.googleapis.com/v1 ;;
  *) echo 'usage: wrap.sh PrometheusRule|Rules [https://docs.example.com/]' >&2; exit 2 ;;
esac
docs=${2:-https://oceanus.example/docs/}
for file in "$(dirname "$0")"/rules/*.yaml; do
  printf -- '---\napiVersion: %s\nkind: %s\nmetadata:\n' "$version" "$1"
  printf '  name: oceanus-%s\n  namespace: oceanus\n' "$(basename "$file" .yaml)"
  printf '  labels: {app.kubernetes.io/part-of: oceanus, release: kube-prometheus-stack}\nspec:\n'
  sed -e 's/^/  /' -e "s#https://oceanus.example/docs/#${docs%/}/#" "$file"
done
