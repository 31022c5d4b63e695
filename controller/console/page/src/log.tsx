// The log of a container, as it comes.
import { useEffect, useRef, useState } from 'preact/hooks';
import { base, Failure, loggedOut, path, query } from './api';
import { change, link, type Place } from './router';
import { Failed, Heading, Live } from './ui';
import { logText } from './text';

const most = 5000; // lines that the page keeps
const longest = 20000; // characters of a line that are shown

// Lines puts lines into an element as text. It makes one node for each frame's worth of lines and
// drops the oldest, so a flood costs the browser little.
class Lines {
  private waiting: string[] = [];
  private blocks: { node: Text; lines: number }[] = [];
  private lines = 0;
  private frame = 0;
  constructor(private box: HTMLElement, private scrolled: HTMLElement) {}

  add(lines: string[]) {
    for (const line of lines) this.waiting.push(line);
    if (this.waiting.length > most) this.waiting.splice(0, this.waiting.length - most);
    this.frame ||= requestAnimationFrame(() => this.flush());
  }

  private flush() {
    this.frame = 0;
    const lines = this.waiting;
    this.waiting = [];
    const { scrolled } = this;
    const atEnd = scrolled.scrollHeight - scrolled.scrollTop - scrolled.clientHeight < 40;
    const node = document.createTextNode(lines.map((l) => logText(l).slice(0, longest) + '\n').join(''));
    this.box.append(node);
    this.blocks.push({ node, lines: lines.length });
    this.lines += lines.length;
    while (this.blocks.length > 1 && this.lines - this.blocks[0]!.lines >= most) {
      const old = this.blocks.shift()!;
      old.node.remove();
      this.lines -= old.lines;
    }
    if (atEnd) scrolled.scrollTop = scrolled.scrollHeight;
  }

  clear() {
    cancelAnimationFrame(this.frame);
    this.frame = 0;
    this.waiting = [];
    this.blocks = [];
    this.lines = 0;
    this.box.textContent = '';
  }
}

type End = { kind: 'open' } | { kind: 'ended' } | { kind: 'cut' } | { kind: 'failed'; failure: Failure };

// read gives a log's lines to add until it ends or the signal ends it.
async function read(to: string, signal: AbortSignal, opened: () => void, add: (lines: string[]) => void): Promise<End> {
  let response: Response;
  try {
    response = await fetch(base + to, { signal, cache: 'no-store', credentials: 'same-origin' });
  } catch {
    return { kind: 'failed', failure: new Failure(0, '') };
  }
  if (!response.ok || !response.body) {
    if (response.status === 401) loggedOut();
    let message = '';
    try { message = (JSON.parse((await response.text()).slice(0, 10000)) as { error?: { message?: string } }).error?.message ?? ''; } catch { /* not JSON */ }
    return { kind: 'failed', failure: new Failure(response.status, logText(message)) };
  }
  opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = '';
  try {
    for (;;) {
      const { done, value } = await reader.read();
      if (done) break;
      const lines = (rest + value).split('\n');
      rest = lines.pop()!;
      if (rest.length > 2 * longest) rest = rest.slice(0, longest);
      if (lines.length) add(lines);
    }
  } catch {
    return { kind: 'cut' };
  }
  if (rest) add([rest]);
  return { kind: 'ended' };
}

export function Log({ namespace, name, place }: { namespace: string; name: string; place: Place }) {
  const q = (key: string) => place.query.get(key) ?? '';
  const containers = q('containers').split(',').filter(Boolean);
  const container = q('container') || containers[0] || '';
  const tail = ['100', '500', '2000'].includes(q('tail')) ? q('tail') : '500';
  const follow = q('follow') !== 'no';
  const [end, setEnd] = useState<End>({ kind: 'open' });
  const [open, setOpen] = useState(false);
  const [round, setRound] = useState(0);
  const failures = useRef(0);
  const [wrap, setWrap] = useState(true);
  const text = useRef<HTMLElement>(null);
  const pre = useRef<HTMLPreElement>(null);

  useEffect(() => {
    const control = new AbortController();
    const lines = new Lines(text.current!, pre.current!);
    let timer = 0;
    setEnd({ kind: 'open' });
    setOpen(false);
    read(path('pods', namespace, name, 'log') + query({ container, tail, follow: follow ? 1 : undefined }), control.signal,
      () => {
        failures.current = 0;
        if (!control.signal.aborted) setOpen(true);
      },
      (more) => { if (!control.signal.aborted) lines.add(more); },
    ).then((how) => {
      if (control.signal.aborted) return;
      setEnd(how);
      if (how.kind === 'failed' && how.failure.away) timer = window.setTimeout(() => setRound((n) => n + 1), 1000 * Math.min(30, 2 ** ++failures.current));
    });
    // A page that Back may show again must not keep the connection until then.
    const left = () => control.abort();
    const back = (e: PageTransitionEvent) => { if (e.persisted) setRound((n) => n + 1); };
    window.addEventListener('pagehide', left);
    window.addEventListener('pageshow', back);
    return () => {
      window.removeEventListener('pagehide', left);
      window.removeEventListener('pageshow', back);
      clearTimeout(timer);
      control.abort();
      lines.clear();
    };
  }, [namespace, name, container, tail, follow, round]);

  const again = () => setRound(round + 1);
  return (
    <>
      <Heading title={name} over={<>{q('node') ? <a href={link(['nodes', q('node')])}>{q('node')}</a> : <a href={link(['nodes'])}>Nodes</a>} / {namespace} / log</>}>
        {follow && end.kind === 'open' && <Live state={open ? 'live' : 'connecting'} />}
      </Heading>
      <div class="tools">
        {containers.length > 1 && (
          <label class="filter"><span>Container</span>
            <select value={container} onChange={(e) => change(place, { container: e.currentTarget.value }, { replace: true })}>
              {containers.map((c) => <option key={c} value={c}>{c}</option>)}
            </select>
          </label>
        )}
        <label class="filter"><span>Last lines</span>
          <select value={tail} onChange={(e) => change(place, { tail: e.currentTarget.value }, { replace: true })}>
            {['100', '500', '2000'].map((n) => <option key={n} value={n}>{n}</option>)}
          </select>
        </label>
        <label class="check"><input type="checkbox" checked={follow} onChange={(e) => change(place, { follow: e.currentTarget.checked ? '' : 'no' }, { replace: true })} />Follow</label>
        <label class="check"><input type="checkbox" checked={wrap} onChange={(e) => setWrap(e.currentTarget.checked)} />Wrap lines</label>
      </div>
      {end.kind === 'failed' && <Failed failure={end.failure} what="the log of this pod" retry={again} />}
      <section class="panel log" hidden={end.kind === 'failed'}>
        <pre ref={pre} class={wrap ? 'wrap' : undefined} tabIndex={0} role="region" aria-label={`Log of ${container || name}`}><code ref={text} /></pre>
        {end.kind === 'ended' && <p class="muted small end">{follow ? 'The log has ended: the container does not run any more, or its node has lost its link. ' : 'This is the end of the log so far. '}<button type="button" onClick={again}>Read again</button></p>}
        {end.kind === 'cut' && <p class="small end warn-text">The connection was cut: the node may have lost its link. <button type="button" onClick={again}>Read again</button></p>}
      </section>
    </>
  );
}
