import type { Dataquery } from '@grafana/grafana-foundation-sdk/cog';
import {
  LegendDisplayMode,
  LegendPlacement,
  ReduceDataOptionsBuilder,
  VisibilityMode,
  VizLegendOptionsBuilder,
} from '@grafana/grafana-foundation-sdk/common';
import {
  type Dashboard,
  DashboardBuilder,
  DatasourceVariableBuilder,
  QueryVariableBuilder,
  RowBuilder,
  VariableRefresh,
  VariableSort,
} from '@grafana/grafana-foundation-sdk/dashboard';
import { PanelBuilder as StatBuilder } from '@grafana/grafana-foundation-sdk/stat';
import { PanelBuilder as TimeseriesBuilder } from '@grafana/grafana-foundation-sdk/timeseries';

export type { Dashboard } from '@grafana/grafana-foundation-sdk/dashboard';

// The only file that imports the foundation SDK: it sets what the SDK leaves to a default that hides something.

/** A query of any plugin, as JSON; `refId` tells the queries of a panel apart. */
export type Query = { readonly refId: string; readonly datasource: { readonly type: string; readonly uid: string } };

/** One panel: what it shows, in which unit (Grafana's id), where its figures come from and how to read them. */
export type Panel = {
  readonly kind: 'timeseries' | 'stat';
  readonly title: string;
  readonly description: string;
  readonly unit: string;
  readonly query: Query;
  /** Highest value that the unit allows; only for ratios. */
  readonly max?: number;
};

export type Row = { readonly title: string; readonly panels: readonly Panel[] };

/** A list to choose from, filled by a query of the same data source. */
export type Choice = { readonly name: string; readonly label: string; readonly query: Query & { rawSql: string } };

export type Board = {
  readonly uid: string;
  readonly title: string;
  readonly description: string;
  readonly tags: readonly string[];
  /** Plugin whose data sources the reader may choose from. */
  readonly plugin: string;
  readonly choices: readonly Choice[];
  readonly rows: readonly Row[];
};

/** Grid cells: 24 wide; a stat takes a quarter, a graph a third. */
const SIZE = { stat: { width: 6, height: 4 }, timeseries: { width: 8, height: 8 } } as const;

/** The dashboard as Grafana imports it. Read-only, since its source is the builder; the same input gives the same JSON. */
export function buildDashboard(board: Board): Dashboard {
  const builder = new DashboardBuilder(board.title)
    .uid(board.uid)
    .description(board.description)
    .tags([...board.tags])
    .timezone('browser')
    .time({ from: 'now-3h', to: 'now' })
    .refresh('30s')
    .readonly()
    .annotations([])
    .withVariable(new DatasourceVariableBuilder('datasource').label('Data source').type(board.plugin));
  for (const choice of board.choices) builder.withVariable(choiceVariable(choice));
  let id = 0; // links to a panel name it by its id
  for (const row of board.rows) {
    builder.withRow(new RowBuilder(row.title).id(++id));
    for (const panel of row.panels) builder.withPanel(panelBuilder(panel).id(++id));
  }
  return builder.build();
}

function choiceVariable({ name, label, query }: Choice): QueryVariableBuilder {
  return new QueryVariableBuilder(name)
    .label(label)
    .datasource(query.datasource)
    .query(query)
    .definition(query.rawSql)
    .refresh(VariableRefresh.OnTimeRangeChanged)
    .sort(VariableSort.AlphabeticalAsc)
    .multi(true)
    .includeAll(true)
    .current({ selected: true, text: ['All'], value: ['$__all'] });
}

function panelBuilder(panel: Panel): StatBuilder | TimeseriesBuilder {
  const builder = panel.kind === 'stat' ? single() : graph();
  const { width, height } = SIZE[panel.kind];
  builder
    .title(panel.title)
    .description(panel.description)
    .unit(panel.unit)
    .min(0)
    .noValue('no data')
    .datasource(panel.query.datasource)
    .span(width)
    .height(height)
    .withTarget({ build: () => asTarget(panel.query) });
  return panel.max === undefined ? builder : builder.max(panel.max);
}

function single(): StatBuilder {
  // the SDK's default is no calculation, which shows nothing
  return new StatBuilder().reduceOptions(new ReduceDataOptionsBuilder().calcs(['lastNotNull']));
}

function graph(): TimeseriesBuilder {
  const legend = new VizLegendOptionsBuilder()
    .showLegend(true) // the SDK's default is false
    .displayMode(LegendDisplayMode.List)
    .placement(LegendPlacement.Bottom)
    .calcs([]);
  return new TimeseriesBuilder().legend(legend).showPoints(VisibilityMode.Auto).spanNulls(false);
}

/** The SDK marks its own query types with a method that JSON never shows; ours is plain JSON. */
function asTarget(query: Query): Dataquery {
  return { ...query } as Query & Dataquery; // the parse door of the SDK: it only copies the value
}
