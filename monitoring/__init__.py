"""Dashboards, recording rules and alerts of the farm, as data; what Grafana, Prometheus and Kubernetes read is written
from it.

    python -m monitoring            writes grafana/*.json, prometheus/rules.yaml and prometheusrule.yaml

    expressions   pieces of PromQL that panels and rules share     tuning    every threshold and window of an alert
    panels        a panel, a row, a dashboard, as Grafana's JSON   rules     recording rules and alerts
    boards/       the dashboards                                   files     what is written, and where
"""
