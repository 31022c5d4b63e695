// The first page: the fleet by state, version and site.
import { useState } from 'preact/hooks';
import { useEvents, useResource, type Me, type Site, type Summary } from './api';
import { link } from './router';
import { Bar, Empty, Heading, Live, Loaded, Notice } from './ui';
import { count, plural } from './text';

export function Fleet({ me }: { me: Me }) {
  const summary = useResource<Summary>('summary', { every: 30 });
  const live = useEvents('stream?topics=summary', { summary: (data: Summary) => summary.update(() => data) });
  return (
    <>
      <Heading title="Fleet"><Live state={live} /></Heading>
      <Loaded from={summary} what="the fleet">{(s) => <Overview summary={s} me={me} />}</Loaded>
    </>
  );
}

function Overview({ summary: s, me }: { summary: Summary; me: Me }) {
  const n = s.nodes;
  if (n?.total === 0) {
    return (
      <Empty title="No edge node yet.">
        <code>edgectl token create</code> makes a token for a machine; <code>edgectl join</code> on that machine makes it a node. It appears here by itself.
      </Empty>
    );
  }
  return (
    <>
      <section class="cards" aria-label="Figures">
        {n && <div class="card nodes-card">
          <h2>Nodes</h2>
          <p class="figure"><a href={link(['nodes'])}>{count(n.total)}</a></p>
          <Bar total={n.total} label={`${count(n.connected)} connected, ${count(n.disconnected)} disconnected, ${count(n.unknown)} unknown`}
            parts={[{ n: n.connected, tone: 'ok' }, { n: n.disconnected, tone: 'bad' }, { n: n.unknown, tone: 'none' }]} />
          <ul class="legend">
            <li><a href={link(['nodes'], { state: 'connected' })}><i class="ok" aria-hidden="true" />{count(n.connected)} connected</a></li>
            <li><a href={link(['nodes'], { state: 'disconnected' })}><i class="bad" aria-hidden="true" />{count(n.disconnected)} disconnected</a></li>
            <li><a href={link(['nodes'], { state: 'unknown' })}><i class="none" aria-hidden="true" />{count(n.unknown)} unknown</a></li>
            {n.notReady > 0 && <li class="muted">{count(n.notReady)} not ready</li>}
          </ul>
        </div>}
        {s.devices && <div class="card">
          <h2>Devices</h2>
          <p class="figure"><a href={link(['devices'])}>{count(s.devices.total)}</a></p>
          {s.devices.total > 0 && (
            <>
              <Bar total={s.devices.total} label={`${count(s.devices.online)} of ${count(s.devices.total)} online`}
                parts={[{ n: s.devices.online, tone: 'ok' }, { n: s.devices.total - s.devices.online, tone: 'none' }]} />
              <p class="muted small">{count(s.devices.online)} online</p>
            </>
          )}
        </div>}
        {s.jobs && <div class="card">
          <h2>Jobs</h2>
          <p class="figure"><a href={link(['jobs'])}>{count(s.jobs.active)}</a></p>
          <p class="muted small">in progress</p>
        </div>}
        {s.versions && <div class="card">
          <h2>Versions</h2>
          <Versions versions={s.versions} />
        </div>}
      </section>
      {!n && (
        <Notice kind="warn" title="You may not see nodes.">
          <p>{n === undefined && s.devices === undefined && s.jobs === undefined ? 'Nor devices or jobs of the whole cluster. ' : ''}Ask an administrator of the cluster for a role that lets {me.user} list nodes.</p>
        </Notice>
      )}
      {s.sites && <Sites sites={s.sites} total={s.sitesTotal} />}
    </>
  );
}

function Versions({ versions }: { versions: { version: string; count: number }[] }) {
  const most = [...versions].sort((a, b) => b.count - a.count);
  const rest = most.slice(4).reduce((n, v) => n + v.count, 0);
  const top = most.slice(0, 4);
  if (rest > 0) top.push({ version: `${most.length - 4} others`, count: rest });
  const all = most.reduce((n, v) => n + v.count, 0);
  if (all === 0) return <p class="muted small">No node has said its version.</p>;
  return (
    <ul class="versions">
      {top.map((v) => (
        <li key={v.version}><span class="clip">{v.version || 'not known'}</span><span class="number">{count(v.count)}</span>
          <Bar total={all} label={`${count(v.count)} of ${count(all)}`} parts={[{ n: v.count, tone: 'accent' }]} /></li>
      ))}
    </ul>
  );
}

function Sites({ sites, total }: { sites: Site[]; total?: number }) {
  const [text, setText] = useState('');
  const [many, setMany] = useState(20);
  const worst = [...sites].sort((a, b) => (b.total - b.connected) - (a.total - a.connected) || a.name.localeCompare(b.name));
  const found = worst.filter((s) => s.name.toLowerCase().includes(text.toLowerCase()));
  return (
    <section class="panel" aria-labelledby="sites">
      <div class="panel-head">
        <h2 id="sites">Sites</h2>
        <span class="muted">{total !== undefined && total > sites.length ? `the ${count(sites.length)} with most nodes away, of ${count(total)}` : plural(sites.length, 'site')}</span>
        {sites.length > 10 && (
          <label class="search"><span>Find a site</span><input type="search" value={text} autocomplete="off" spellcheck={false} onInput={(e) => setText(e.currentTarget.value)} /></label>
        )}
      </div>
      {found.length === 0 ? (
        <Empty title={sites.length === 0 ? 'No node has a site.' : 'No site has this name.'}>
          {sites.length === 0 && <>A node's site is its NodeGroup, or else its label <code>topology.kubernetes.io/zone</code>; cloudcore's <code>--console-site-label</code> names other labels.</>}
        </Empty>
      ) : (
        <table>
          <caption class="hidden">Sites, those with most nodes away first</caption>
          <thead><tr><th scope="col">Site</th><th scope="col" class="mid share">Connected</th><th scope="col" class="number">Away</th><th scope="col" class="number">Nodes</th></tr></thead>
          <tbody>
            {found.slice(0, many).map((s) => (
              <tr key={s.name}>
                <th scope="row"><a href={link(['nodes'], { site: s.name })}>{s.name || 'no site'}</a></th>
                <td class="mid share"><Bar total={s.total} label={`${count(s.connected)} of ${count(s.total)} connected`}
                  parts={[{ n: s.connected, tone: 'ok' }, { n: s.total - s.connected, tone: 'bad' }]} /></td>
                <td class="number">{s.total > s.connected ? <strong class="bad-text">{count(s.total - s.connected)}</strong> : '0'}</td>
                <td class="number">{count(s.total)}</td>
              </tr>
            ))}
          </tbody>
        </table>
      )}
      {found.length > many && <p class="more"><button type="button" onClick={() => setMany(many + 100)}>Show {count(Math.min(100, found.length - many))} more</button></p>}
    </section>
  );
}
