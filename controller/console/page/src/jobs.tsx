// The list of jobs, one job, and what a user may do to it.
import { useState } from 'preact/hooks';
import { Failure, path, query, request, useResource, type Job, type JobDetail, type JobNode, type Page } from './api';
import { link, type Place } from './router';
import { Ago, announce, Bar, Dialog, Empty, Facts, Heading, Loaded, Notice, Pager, State, Table, type Column } from './ui';
import { count, plural } from './text';

function phase(j: Job): string {
  return j.paused && j.phase !== 'Completed' && j.phase !== 'Failure' ? 'Paused' : j.phase || 'Init';
}

function Progress({ job: j }: { job: Job }) {
  return (
    <span class="progress">
      <Bar total={j.total} label={`${count(j.done)} of ${count(j.total)} done, ${count(j.failed)} failed`}
        parts={[{ n: j.done, tone: 'ok' }, { n: j.failed, tone: 'bad' }]} />
      <span class="small">{count(j.done)}/{count(j.total)}{j.failed > 0 && <span class="bad-text"> · {count(j.failed)} failed</span>}</span>
    </span>
  );
}

const columns: Column<Job>[] = [
  { name: 'Job', cell: (j) => <><a href={link(['jobs', j.kind, j.name])}>{j.name}</a><span class="sub always">{j.kind}</span></> },
  { name: 'Phase', cell: (j) => <State value={phase(j)} /> },
  { name: 'Nodes', level: 'mid', cell: (j) => <Progress job={j} /> },
  { name: 'Why', level: 'wide', cell: (j) => j.reason || '–' },
  { name: 'Age', number: true, cell: (j) => (j.created ? <Ago time={j.created} /> : j.age ?? '–') },
];

export function Jobs({ place }: { place: Place }) {
  const jobs = useResource<Page<Job>>('jobs' + query({ limit: 50, cursor: place.query.get('cursor') ?? '' }), { every: 5, keepOld: true });
  return (
    <>
      <Heading title="Jobs" />
      <Loaded from={jobs} what="jobs">
        {(page) => (
          <section class="panel">
            {page.items.length === 0
              ? <Empty title="No job.">A NodeUpgradeJob, an ImagePrePullJob or a ConfigUpdateJob changes many nodes, in batches. <code>edgectl node upgrade</code> makes one.</Empty>
              : <Table caption="Jobs, the newest first" columns={columns} items={page.items} rowKey={(j) => `${j.kind}/${j.name}`} busy={jobs.busy} />}
            <Pager place={place} shown={page.items.length} total={page.total} next={page.next} word="job" />
          </section>
        )}
      </Loaded>
    </>
  );
}

const words: Record<string, { name: string; done: string; ask?: string; danger?: boolean }> = {
  pause: { name: 'Pause', done: 'The job is paused.' },
  resume: { name: 'Resume', done: 'The job goes on.' },
  confirm: { name: 'Confirm', done: 'The job is confirmed.', ask: 'Nodes that wait for a confirmation begin to apply the job, as soon as it is their turn.' },
  cancel: { name: 'Cancel job', done: 'The job is cancelled.', danger: true, ask: 'No further node begins. Nodes that have begun go on to their end. This cannot be taken back: make a new job to go on.' },
};

function Actions({ job, changed }: { job: JobDetail; changed: () => void }) {
  const [asks, setAsks] = useState('');
  const [busy, setBusy] = useState('');
  const [failure, setFailure] = useState<Failure>();
  const offered = ['confirm', 'pause', 'resume', 'cancel'].filter((a) => job.actions?.includes(a));
  const act = async (action: string) => {
    setBusy(action);
    setFailure(undefined);
    try {
      await request('POST', path('jobs', job.kind, job.name, action), {});
      announce(words[action]!.done);
    } catch (e) {
      setFailure(e instanceof Failure ? e : new Failure(0, String(e)));
    }
    setBusy('');
    changed();
  };
  return (
    <>
      {offered.length > 0 && (
        <div class="buttons">
          {offered.map((a) => (
            <button type="button" key={a} class={words[a]!.danger ? 'danger' : a === 'confirm' ? 'primary' : undefined} disabled={busy !== ''}
              onClick={() => (words[a]!.ask ? setAsks(a) : act(a))}>{busy === a ? `${words[a]!.name}…` : words[a]!.name}</button>
          ))}
        </div>
      )}
      {failure && (
        <Notice kind="bad" title={failure.code === 403 ? 'You may not change this job.' : failure.away ? 'cloudcore does not answer: nothing was changed, or you cannot know yet.' : 'The job was not changed.'}>
          <p>{failure.message || 'Look at the job again, then try once more.'}</p>
        </Notice>
      )}
      {asks && (
        <Dialog title={`${words[asks]!.name.replace(' job', '')} ${job.name}?`} action={words[asks]!.name} danger={words[asks]!.danger}
          onDone={(yes) => { setAsks(''); if (yes) void act(asks); }}>
          <p>{words[asks]!.ask}</p>
        </Dialog>
      )}
    </>
  );
}

const nodeColumns: Column<JobNode>[] = [
  { name: 'Node', cell: (n) => <><a href={link(['nodes', n.node])}>{n.node}</a>{(n.reason || n.message) && <span class="sub">{n.message || n.reason}</span>}</> },
  { name: 'Phase', cell: (n) => <State value={n.phase || 'Pending'} /> },
  { name: 'Why', level: 'mid', cell: (n) => <span class="message">{n.message || n.reason || '–'}</span> },
  { name: 'Since', number: true, cell: (n) => <Ago time={n.time} /> },
];

export function JobPage({ kind, name, place }: { kind: string; name: string; place: Place }) {
  const job = useResource<JobDetail>(path('jobs', kind, name) + query({ limit: 50, cursor: place.query.get('cursor') ?? '' }), { every: 3, keepOld: true });
  return (
    <>
      <Heading title={name} over={<><a href={link(['jobs'])}>Jobs</a> / {kind}</>}>{job.data && <State value={phase(job.data)} />}</Heading>
      <Loaded from={job} what="job">
        {(j) => {
          const nodes = j.nodes ?? { items: [] };
          return (
            <>
              <section class="panel padded" aria-label="Summary">
                <p class="big-progress"><Progress job={j} /></p>
                {(j.message || j.reason) && <p>{j.message || j.reason}</p>}
                <Facts items={[
                  ['Nodes', plural(j.total, 'node')],
                  ['Done', count(j.done)],
                  ['Failed', j.failed > 0 ? <strong class="bad-text">{count(j.failed)}</strong> : '0'],
                  ...Object.entries(j.counts ?? {}).filter(([k]) => ['pending', 'inProgress', 'away'].includes(k))
                    .map(([k, v]): [string, string] => [k === 'inProgress' ? 'At work' : k === 'pending' ? 'Waiting' : 'Away', count(v)]),
                  ['Age', j.created ? <Ago time={j.created} /> : j.age ?? '–'],
                ]} />
                <Actions job={{ ...j, kind, name }} changed={job.reload} />
              </section>
              {nodes.items.some((i) => /confirm/i.test(i.reason ?? '')) && (
                <Notice kind="info" title="Nodes wait for a confirmation."><p>This job wants somebody at each machine to say yes: <code>edgectl confirm</code> there.</p></Notice>
              )}
              <section class="panel" aria-labelledby="job-nodes">
                <div class="panel-head"><h2 id="job-nodes">Nodes</h2></div>
                {nodes.items.length === 0
                  ? <Empty title={j.nodes ? 'No node to show yet.' : 'You may not list NodeJobResults.'}>{!j.nodes && <>They say what each node did.</>}</Empty>
                  : <Table caption="Nodes of this job" columns={nodeColumns} items={nodes.items} rowKey={(n) => n.node} />}
                <Pager place={place} shown={nodes.items.length} total={nodes.total} next={nodes.next} word="node" />
              </section>
            </>
          );
        }}
      </Loaded>
    </>
  );
}
