// A dashboard as this project writes it: Grafana's own types, with what it leaves open filled in. Options of a panel are
// those of its plugin, any of which may be absent; targets are Prometheus' queries, for which Grafana publishes no type.
import type { DataQuery, GraphFieldConfig } from '@grafana/schema';
import type { AnnotationQuery, Dashboard, FieldConfig, Panel, RowPanel }
  from '@grafana/schema/dist/types/raw/dashboard/x/types.gen';
import type { Options as BarGauge } from '@grafana/schema/dist/types/raw/composable/bargauge/panelcfg/x/types.gen';
import type { FieldConfig as HeatmapField, Options as Heatmap }
  from '@grafana/schema/dist/types/raw/composable/heatmap/panelcfg/x/types.gen';
import type { Options as Stat } from '@grafana/schema/dist/types/raw/composable/stat/panelcfg/x/types.gen';
import type { Options as TimeSeries } from '@grafana/schema/dist/types/raw/composable/timeseries/panelcfg/x/types.gen';

// JSON holds the values of enums, not their names.
type Plain<T> = T extends string ? `${T}` : T extends object ? { [K in keyof T]: Plain<T[K]> } : T;
type Some<T> = T extends object ? { [K in keyof T]?: Some<T[K]> } : T;

interface PrometheusQuery extends DataQuery {
  expr: string;
  legendFormat: string;
  range: boolean;
  instant: boolean;
  format: 'time_series' | 'table' | 'heatmap';
}

interface PanelOf<Kind extends string, Options, Custom> extends Omit<Panel, 'type' | 'options' | 'targets' | 'fieldConfig'> {
  id: number;
  type: Kind;
  options: Some<Options>;
  targets: PrometheusQuery[];
  fieldConfig: { defaults: Omit<FieldConfig, 'custom'> & { custom: Some<Custom> }; overrides: [] };
}

type AnyPanel =
  | PanelOf<'timeseries', TimeSeries, GraphFieldConfig>
  | PanelOf<'stat', Stat, Record<string, never>>
  | PanelOf<'bargauge', BarGauge, Record<string, never>>
  | PanelOf<'heatmap', Heatmap, HeatmapField>
  | RowPanel;

interface AlertsShown extends Omit<AnnotationQuery, 'target'> {
  target: { refId: string; expr: string };
  titleFormat: string;
  textFormat: string;
}

interface Written extends Omit<Dashboard, 'panels' | 'annotations'> {
  uid: string;
  title: string;
  panels: AnyPanel[];
  annotations: { list: AlertsShown[] };
}

export type Board = Plain<Written>;
