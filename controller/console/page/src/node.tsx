// One node: its link and version, and what it has.
import { path, query, useEvents, useResource, type Device, type Event, type NodeDetail, type NodeItem, type Page, type Pod } from './api';
import { link, type Place } from './router';
import { deviceColumns } from './devices';
import { Ago, Empty, Facts, Heading, Loaded, Pager, State, Table, Tabs, type Column } from './ui';
import { count } from './text';

export function Node({ name, place }: { name: string; place: Place }) {
  const node = useResource<NodeDetail>(path('nodes', name), { every: 10 });
  useEvents('stream?topics=nodes', {
    nodes: (data: { items?: NodeItem[] }) => {
      if (data.items?.some((n) => n.name === name)) node.reload();
    },
  });
  const view = place.query.get('view') ?? 'pods';
  return (
    <>
      <Heading title={name} over={<a href={link(['nodes'])}>Nodes</a>}>{node.data && <State value={node.data.state} />}</Heading>
      <Loaded from={node} what="node">
        {(n) => (
          <>
            <Summary node={n} />
            <Tabs place={place} label="About this node" tabs={[
              { id: 'pods', name: 'Pods' }, { id: 'devices', name: 'Devices' }, { id: 'events', name: 'Events' },
              { id: 'conditions', name: 'Conditions' }, { id: 'labels', name: 'Labels' },
            ]} />
            {view === 'pods' && <Pods node={name} place={place} />}
            {view === 'devices' && <Devices node={name} place={place} />}
            {view === 'events' && <Events node={name} place={place} />}
            {view === 'conditions' && <Conditions node={n} />}
            {view === 'labels' && <Labels labels={n.labels ?? {}} />}
          </>
        )}
      </Loaded>
    </>
  );
}

function Summary({ node: n }: { node: NodeDetail }) {
  return (
    <section class="panel padded" aria-label="Summary">
      <Facts items={[
        ['Link', <>{n.state} <span class="muted">for <Ago time={n.link?.connectedAt && n.state === 'connected' ? n.link.connectedAt : n.since} /></span></>],
        ['Held by', <>{n.link?.cloudcore || '–'}{n.link?.transport && <span class="muted"> over {n.link.transport}</span>}</>],
        ['Ready', n.ready === undefined ? '–' : n.ready ? 'yes' : <strong class="bad-text">no</strong>],
        ['Version', n.version || '–'],
        ['Site', n.site ? <a href={link(['nodes'], { site: n.site })}>{n.site}</a> : '–'],
        ['Address', <span class="mono">{n.address || '–'}</span>],
      ]} />
    </section>
  );
}

const podColumns: Column<Pod>[] = [
  { name: 'Pod', cell: (p) => (
    <>{p.containers?.length
      ? <a href={link(['pods', p.namespace, p.name, 'log'], { container: p.containers[0], containers: p.containers.join(), node: p.node })}>{p.name}</a>
      : p.name}<span class="sub always">{p.namespace}</span>{p.ready === false && <span class="sub bad-text">not ready</span>}</>
  ) },
  { name: 'Phase', cell: (p) => <State value={p.phase || 'Unknown'} tone={p.phase === 'Pending' ? 'warn' : undefined} /> },
  { name: 'Ready', level: 'mid', cell: (p) => (p.ready ? 'yes' : <span class="bad-text">no</span>) },
  { name: 'Restarts', number: true, level: 'mid', cell: (p) => count(p.restarts) },
  { name: 'Age', number: true, cell: (p) => <Ago time={p.since} /> },
];

function usePart<T>(node: string, part: string, place: Place, limit = 50) {
  return useResource<Page<T>>(path('nodes', node, part) + query({ limit, cursor: place.query.get('cursor') ?? '' }), { every: 10 });
}

function Pods({ node, place }: { node: string; place: Place }) {
  const pods = usePart<Pod>(node, 'pods', place);
  return (
    <Loaded from={pods} what="pods of this node">
      {(page) => (
        <section class="panel">
          {page.items.length === 0
            ? <Empty title="No pod runs here." />
            : <Table caption="Pods of this node; a name leads to its log" columns={podColumns} items={page.items.map((p) => ({ ...p, node }))} rowKey={(p) => `${p.namespace}/${p.name}`} />}
          <Pager place={place} shown={page.items.length} total={page.total} next={page.next} word="pod" />
        </section>
      )}
    </Loaded>
  );
}

function Devices({ node, place }: { node: string; place: Place }) {
  const devices = usePart<Device>(node, 'devices', place);
  return (
    <Loaded from={devices} what="devices of this node">
      {(page) => (
        <section class="panel">
          {page.items.length === 0
            ? <Empty title="No device is bound to this node.">A Device names its node in <code>spec.nodeName</code>.</Empty>
            : <Table caption="Devices of this node" columns={deviceColumns.filter((c) => c.name !== 'Node')} items={page.items} rowKey={(d) => `${d.namespace}/${d.name}`} />}
          <Pager place={place} shown={page.items.length} total={page.total} next={page.next} word="device" />
        </section>
      )}
    </Loaded>
  );
}

const eventColumns: Column<Event>[] = [
  { name: 'Reason', cell: (e) => <><span>{e.reason || '–'}</span><span class="sub">{e.object}</span></> },
  { name: 'Message', cell: (e) => <span class="message">{e.message}</span> },
  { name: 'Type', level: 'mid', cell: (e) => <State value={e.type || 'Normal'} /> },
  { name: 'Object', level: 'wide', cell: (e) => e.object || '–' },
  { name: 'Times', level: 'mid', number: true, cell: (e) => count(e.count ?? 1) },
  { name: 'Last', number: true, cell: (e) => <Ago time={e.time} /> },
];

function Events({ node, place }: { node: string; place: Place }) {
  const events = usePart<Event>(node, 'events', place, 200); // events have one page
  return (
    <Loaded from={events} what="events of this node">
      {(page) => (
        <section class="panel">
          {page.items.length === 0
            ? <Empty title="No event.">Kubernetes keeps events for an hour.</Empty>
            : <Table caption="Events of this node, the newest first" columns={eventColumns} items={page.items} rowKey={(e) => `${e.time}${e.reason}${e.object}${e.message}`} />}
          <Pager place={place} shown={page.items.length} total={page.total} next={page.next} word="event" />
        </section>
      )}
    </Loaded>
  );
}

const good = ['Ready', 'EdgeConnected']; // conditions that should be True; the others are faults

function Conditions({ node }: { node: NodeDetail }) {
  const conditions = node.conditions ?? [];
  return (
    <section class="panel">
      {conditions.length === 0 ? <Empty title="The node has said nothing of its conditions." /> : (
        <Table caption="Conditions of this node" items={conditions} rowKey={(c) => c.type} columns={[
          { name: 'Condition', cell: (c) => c.type },
          { name: 'Status', cell: (c) => <State value={c.status} tone={c.status === 'Unknown' ? 'warn' : (c.status === 'True') === good.includes(c.type) ? 'ok' : 'bad'} /> },
          { name: 'Message', level: 'mid', cell: (c) => <span class="message">{c.message || c.reason || '–'}</span> },
          { name: 'Since', number: true, cell: (c) => <Ago time={c.since} /> },
        ]} />
      )}
    </section>
  );
}

function Labels({ labels }: { labels: Record<string, string> }) {
  const entries = Object.entries(labels).sort(([a], [b]) => a.localeCompare(b));
  return (
    <section class="panel">
      {entries.length === 0 ? <Empty title="The node has no label." /> : (
        <Table caption="Labels of this node" items={entries} rowKey={([k]) => k} columns={[
          { name: 'Label', cell: ([k]) => <span class="mono">{k}</span> },
          { name: 'Value', cell: ([, v]) => <span class="mono">{v || '–'}</span> },
        ]} />
      )}
    </section>
  );
}
