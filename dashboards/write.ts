import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DASHBOARDS, dashboardText } from './all.ts';

// npm run dashboards: writes each dashboard's JSON beside its builder.
for (const [name, build] of Object.entries(DASHBOARDS))
  writeFileSync(join(import.meta.dirname, `${name}.json`), dashboardText(build()));
