// The list of nodes.
import { useRef } from 'preact/hooks';
import { query, useEvents, useResource, type NodeItem, type Page } from './api';
import { link, type Place } from './router';
import { Ago, Empty, Filter, Heading, Live, Loaded, Pager, Search, State, Table, type Column } from './ui';
import { count } from './text';

const columns: Column<NodeItem>[] = [
  { name: 'Node', sort: 'name', cell: (n) => (
    <><a href={link(['nodes', n.name])}>{n.name}</a><span class="sub">{[n.site, n.version].filter(Boolean).join(' · ')}</span></>
  ) },
  { name: 'Link', sort: 'state', cell: (n) => <State value={n.state} /> },
  { name: 'Site', sort: 'site', level: 'mid', cell: (n) => n.site ? <a href={link(['nodes'], { site: n.site })}>{n.site}</a> : '–' },
  { name: 'Ready', level: 'mid', cell: (n) => (n.ready === undefined ? '–' : n.ready ? 'yes' : <span class="bad-text">no</span>) },
  { name: 'Version', sort: 'version', level: 'mid', cell: (n) => n.version || '–' },
  { name: 'Pods', level: 'wide', number: true, cell: (n) => count(n.pods) },
  { name: 'Address', level: 'wide', cell: (n) => <span class="mono">{n.address || '–'}</span> },
  { name: 'Since', sort: 'since', number: true, cell: (n) => <Ago time={n.since} /> },
];

export function Nodes({ place }: { place: Place }) {
  const q = (name: string) => place.query.get(name) ?? '';
  const to = 'nodes' + query({ search: q('search'), state: q('state'), site: q('site'), sort: q('sort'), cursor: q('cursor'), limit: 50 });
  const nodes = useResource<Page<NodeItem>>(to, { every: 15, keepOld: true });
  const last = useRef(0);
  const live = useEvents('stream?topics=nodes', {
    nodes: (data: { items?: NodeItem[]; more?: boolean }) => {
      const changed = new Map((data.items ?? []).map((n) => [n.name, n]));
      nodes.update((old) => (old.items.some((n) => changed.has(n.name))
        ? { ...old, items: old.items.map((n) => changed.get(n.name) ?? n) } : old));
      if (data.more && Date.now() - last.current > 3000) {
        last.current = Date.now();
        nodes.reload();
      }
    },
  });
  const filtered = q('search') || q('state') || q('site');
  return (
    <>
      <Heading title="Nodes"><Live state={live} /></Heading>
      <div class="tools">
        <Search place={place} label="Search names, sites and addresses" />
        <Filter place={place} name="state" label="Link" options={['connected', 'disconnected', 'unknown']} />
        {q('site') && <Filter place={place} name="site" label="Site" options={[q('site')]} />}
        {filtered && <a class="clear" href={link(['nodes'])}>Clear all</a>}
      </div>
      <Loaded from={nodes} what="nodes">
        {(page) => (
          <section class="panel">
            {page.items.length === 0
              ? <Empty title={filtered ? 'No node matches.' : 'No edge node yet.'}>{filtered
                ? <>Take a filter away, or look for another name.</>
                : <><code>edgectl join</code> makes a machine a node. It appears here by itself.</>}</Empty>
              : <Table caption="Nodes" columns={columns} items={page.items} rowKey={(n) => n.name} place={place} busy={nodes.busy} />}
            <Pager place={place} shown={page.items.length} total={page.total} next={page.next} word="node" />
          </section>
        )}
      </Loaded>
    </>
  );
}
