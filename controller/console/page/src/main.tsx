// The console's page: who is logged in, and which page an address has.
import { render } from 'preact';
import { useCallback, useEffect, useState } from 'preact/hooks';
import 'uplot/dist/uPlot.min.css';
import './app.css';
import { Failure, get, loggedOut, onLoggedOut, request, type Me } from './api';
import { Device } from './device';
import { Devices } from './devices';
import { Fleet } from './fleet';
import { JobPage, Jobs } from './jobs';
import { Log } from './log';
import { Login } from './login';
import { Node } from './node';
import { Nodes } from './nodes';
import { go, inside, link, root, startRouter, usePlace, type Place } from './router';
import { Announcer, Failed, Heading, Mark, Notice } from './ui';

const sections = [
  { id: '', name: 'Fleet' }, { id: 'nodes', name: 'Nodes' }, { id: 'devices', name: 'Devices' }, { id: 'jobs', name: 'Jobs' },
];

const askAgain = 5000; // milliseconds, while cloudcore does not answer

type Session = { kind: 'asking' } | { kind: 'out'; ended: boolean } | { kind: 'in'; me: Me } | { kind: 'failed'; failure: Failure };

function App() {
  const place = usePlace();
  const [session, setSession] = useState<Session>({ kind: 'asking' });
  const [stays, setStays] = useState<Failure>(); // why the user is still logged in
  const ask = useCallback(() => {
    get<Me>('me').then(
      (me) => setSession({ kind: 'in', me }),
      (e) => { if (!(e instanceof Failure && e.code === 401)) setSession({ kind: 'failed', failure: e instanceof Failure ? e : new Failure(0, String(e)) }); },
    );
  }, []);
  useEffect(() => {
    onLoggedOut(() => setSession((old) => ({ kind: 'out', ended: old.kind === 'in' })));
    ask();
  }, []);
  useEffect(() => {
    if (session.kind !== 'failed' || !session.failure.away) return;
    const timer = setTimeout(ask, askAgain);
    return () => clearTimeout(timer);
  }, [session]);

  const logOut = () => {
    setStays(undefined);
    const out = () => { loggedOut(); setSession({ kind: 'out', ended: false }); };
    request('DELETE', 'session').then(out, (e) => {
      const failure = e instanceof Failure ? e : new Failure(0, String(e));
      if (failure.code === 401) out(); else setStays(failure);
    });
  };
  if (session.kind === 'asking') return <div class="loading page" aria-busy="true"><span class="hidden">Loading</span><i /><i /></div>;
  if (session.kind === 'failed') {
    return <main class="login"><Heading title="edgekit console" /><Failed failure={session.failure} what="the console" retry={ask} /></main>;
  }
  if (session.kind === 'out' || place.segments[0] === 'login') {
    return <Login ended={session.kind === 'out' && session.ended} done={() => {
      if (place.segments[0] === 'login') go(inside(place.query.get('next')), { replace: true });
      ask();
    }} />;
  }
  const section = place.segments[0] === 'pods' ? 'nodes' : place.segments[0] ?? '';
  return (
    <>
      <a class="skip" href="#main">Skip to the content</a>
      <header class="top">
        <a class="brand" href={root}><Mark /><span>edgekit</span></a>
        <nav aria-label="Main">
          {sections.map((s) => (
            <a key={s.id} href={link(s.id ? [s.id] : [])} aria-current={s.id === section ? 'page' : undefined}>{s.name}</a>
          ))}
        </nav>
        <div class="user">
          <span class="clip" title={session.me.user}>{session.me.user}</span>
          <button type="button" onClick={logOut}>Log out</button>
        </div>
      </header>
      <main id="main" tabIndex={-1}>
        {stays && <Notice kind="bad" title="You are still logged in."><p>{stays.message || 'cloudcore does not answer.'} Log out again in a moment.</p></Notice>}
        <View place={place} me={session.me} />
      </main>
    </>
  );
}

function View({ place, me }: { place: Place; me: Me }) {
  const [section, a, b, c, ...more] = place.segments;
  const n = place.segments.length;
  if (section === undefined) return <Fleet me={me} />;
  if (section === 'nodes' && n === 1) return <Nodes place={place} />;
  if (section === 'nodes' && n === 2) return <Node key={a} name={a!} place={place} />;
  if (section === 'devices' && n === 1) return <Devices place={place} />;
  if (section === 'devices' && n === 3) return <Device key={`${a}/${b}`} namespace={a!} name={b!} />;
  if (section === 'jobs' && n === 1) return <Jobs place={place} />;
  if (section === 'jobs' && n === 3) return <JobPage key={`${a}/${b}`} kind={a!} name={b!} place={place} />;
  if (section === 'pods' && c === 'log' && more.length === 0) return <Log key={`${a}/${b}`} namespace={a!} name={b!} place={place} />;
  return (
    <>
      <Heading title="No such page" />
      <Notice kind="info" title="The console has no page of this address."><p>The address may have a mistake. <a href={root}>Go to the fleet</a>.</p></Notice>
    </>
  );
}

startRouter();
render(<><App /><Announcer /></>, document.getElementById('app')!);
