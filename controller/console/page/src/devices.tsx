// The list of devices.
import { query, useResource, type Device, type Page } from './api';
import { link, type Place } from './router';
import { Ago, Empty, Filter, Heading, Loaded, Pager, Search, State, Table, type Column } from './ui';

export const deviceColumns: Column<Device>[] = [
  { name: 'Device', cell: (d) => (
    <><a href={link(['devices', d.namespace, d.name])}>{d.name}</a><span class="sub always">{d.namespace}</span></>
  ) },
  { name: 'State', cell: (d) => <State value={d.state || 'unknown'} /> },
  { name: 'Node', level: 'mid', cell: (d) => (d.node ? <a href={link(['nodes', d.node])}>{d.node}</a> : '–') },
  { name: 'Model', level: 'mid', cell: (d) => d.model || '–' },
  { name: 'Last online', number: true, cell: (d) => <Ago time={d.lastOnline} /> },
];

export function Devices({ place }: { place: Place }) {
  const q = (name: string) => place.query.get(name) ?? '';
  const devices = useResource<Page<Device>>(
    'devices' + query({ search: q('search'), state: q('state'), node: q('node'), cursor: q('cursor'), limit: 50 }), { every: 15, keepOld: true });
  const filtered = q('search') || q('state') || q('node');
  return (
    <>
      <Heading title="Devices" />
      <div class="tools">
        <Search place={place} label="Search names, namespaces and nodes" />
        <Filter place={place} name="state" label="State" options={['online', 'ok', 'unhealthy', 'offline', 'disabled', 'unknown']} />
        {q('node') && <Filter place={place} name="node" label="Node" options={[q('node')]} />}
        {filtered && <a class="clear" href={link(['devices'])}>Clear all</a>}
      </div>
      <Loaded from={devices} what="devices">
        {(page) => (
          <section class="panel">
            {page.items.length === 0
              ? <Empty title={filtered ? 'No device matches.' : 'No device yet.'}>{filtered
                ? <>Take a filter away, or look for another name.</>
                : <>Create a DeviceModel and a Device; <code>edgectl device new</code> writes both for you.</>}</Empty>
              : <Table caption="Devices" columns={deviceColumns} items={page.items} rowKey={(d) => `${d.namespace}/${d.name}`} busy={devices.busy} />}
            <Pager place={place} shown={page.items.length} total={page.total} next={page.next} word="device" />
          </section>
        )}
      </Loaded>
    </>
  );
}
