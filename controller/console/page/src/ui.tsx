// The parts that pages are made of.
import type { ComponentChildren } from 'preact';
import { useEffect, useId, useRef, useState } from 'preact/hooks';
import type { Failure, LiveState, Resource } from './api';
import { change, type Place } from './router';
import { clock, count, dateTime, duration, plural, secondsAgo } from './text';

let liveRegion: HTMLElement | null = null;

// announce has screen readers say a text, once they have finished what they say.
export function announce(text: string) {
  if (liveRegion && liveRegion.textContent !== text) liveRegion.textContent = text;
}

export function Announcer() {
  return <div class="hidden" role="status" aria-live="polite" ref={(e) => { liveRegion = e; }} />;
}

// Heading is the page's h1. It has the focus after a change of page, and names the document.
export function Heading({ title, children, over }: { title: string; children?: ComponentChildren; over?: ComponentChildren }) {
  const ref = useRef<HTMLHeadingElement>(null);
  useEffect(() => {
    document.title = `${title} · edgekit console`;
    // Not after the first load: there the skip link comes first.
    if (document.body.dataset.moved) ref.current?.focus({ preventScroll: true });
    document.body.dataset.moved = 'yes';
  }, [title]);
  return (
    <header class="heading">
      {over && <p class="over">{over}</p>}
      <div class="heading-row">
        <h1 tabIndex={-1} ref={ref}>{title}</h1>
        {children}
      </div>
    </header>
  );
}

export type Tone = 'ok' | 'warn' | 'bad' | 'none' | 'accent';

const tones: Record<string, Tone> = {
  connected: 'ok', disconnected: 'bad', unknown: 'none',
  online: 'ok', ok: 'ok', offline: 'bad', unhealthy: 'warn', disabled: 'none',
  Running: 'ok', Succeeded: 'none', Pending: 'none', Failed: 'bad', Unknown: 'none',
  Completed: 'ok', Successful: 'ok', InProgress: 'accent', Init: 'none', Failure: 'bad', RolledBack: 'bad', Paused: 'none',
  Warning: 'warn', Normal: 'none',
};

// State shows a state by a shape, a colour and a word, so that none of them is needed alone.
export function State({ value, tone }: { value: string; tone?: Tone }) {
  const t = tone ?? tones[value] ?? 'none';
  return <span class={`state ${t}`}><i aria-hidden="true" />{value}</span>;
}

// Ago shows how long ago a time is, and the time itself as a title. It counts on by itself.
export function Ago({ time, none = '–' }: { time?: string; none?: string }) {
  const [, setNow] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => setNow((n) => n + 1), 10000);
    return () => clearInterval(timer);
  }, []);
  const s = secondsAgo(time);
  if (s === undefined) return <span>{none}</span>;
  return <time dateTime={time} title={dateTime(time)}>{s < -60 ? `in ${duration(-s)}` : duration(s)}</time>;
}

// Bar shows parts of a whole. The text says the same.
export function Bar({ parts, total, label }: { parts: { n: number; tone: Tone }[]; total: number; label: string }) {
  return (
    <span class="bar" role="img" aria-label={label}>
      {parts.filter((p) => p.n > 0).map((p) => (
        <i class={p.tone} key={p.tone} style={{ width: `${total > 0 ? Math.max(0.8, (100 * p.n) / total) : 0}%` }} />
      ))}
    </span>
  );
}

export function Notice({ kind, title, children }: { kind: 'info' | 'warn' | 'bad'; title: string; children?: ComponentChildren }) {
  return (
    <div class={`notice ${kind}`} role={kind === 'info' ? undefined : 'alert'}>
      <strong>{title}</strong>
      {children}
    </div>
  );
}

// Failed says why there is nothing to see, and what to do.
export function Failed({ failure, what, retry }: { failure: Failure; what: string; retry: () => void }) {
  const said = failure.message && <p class="said">{failure.message}</p>;
  if (failure.code === 403) {
    return (
      <Notice kind="warn" title={`You may not see ${what}.`}>
        <p>Ask an administrator of the cluster for a role that lets you. <code>kubectl auth can-i --list</code> shows what you may do.</p>
        {said}
      </Notice>
    );
  }
  if (failure.code === 404) {
    return <Notice kind="info" title={`There is no such ${what.replace(/^the log of this /, '')}.`}><p>It may have been deleted, or the address has a mistake.</p>{said}</Notice>;
  }
  if (failure.away) {
    return (
      <Notice kind="bad" title={failure.code === 0 ? 'cloudcore does not answer.' : 'cloudcore cannot answer now.'}>
        <p>The page tries again by itself. If this stays, look at <code>kubectl -n edgekit-system get pods</code>.</p>
        {said}
        <p><button type="button" onClick={retry}>Try now</button></p>
      </Notice>
    );
  }
  return <Notice kind="bad" title={`${what[0]!.toUpperCase()}${what.slice(1)}: the request was refused (${failure.code}).`}>{said}<p><button type="button" onClick={retry}>Try again</button></p></Notice>;
}

// Loaded shows a resource once it is there. Until then it says that it loads; when it cannot be
// read it says why; and when it was read before and cannot be now, it shows the old with a warning.
export function Loaded<T>({ from, what, children }: { from: Resource<T>; what: string; children: (data: T) => ComponentChildren }) {
  const { data, failure, reload } = from;
  if (data === undefined) {
    return failure ? <Failed failure={failure} what={what} retry={reload} /> : <Loading />;
  }
  return (
    <>
      {failure && (
        <Notice kind="warn" title="What you see is old.">
          <p>cloudcore does not answer{from.at ? ` since ${clock(from.at)}` : ''}. The page tries again by itself. <button type="button" onClick={reload}>Try now</button></p>
        </Notice>
      )}
      {children(data)}
    </>
  );
}

function Loading() {
  return <div class="loading" aria-busy="true"><span class="hidden">Loading</span><i /><i /><i /></div>;
}

export function Empty({ title, children }: { title: string; children?: ComponentChildren }) {
  return <div class="empty"><strong>{title}</strong>{children && <p>{children}</p>}</div>;
}

export function Live({ state }: { state: LiveState }) {
  const words = { connecting: 'Connecting', live: 'Live', lost: 'Not live, connecting again' };
  return <span class={`live ${state}`}><i aria-hidden="true" />{words[state]}</span>;
}

export interface Column<T> {
  name: string;
  cell: (item: T) => ComponentChildren;
  sort?: string; // the server's word
  level?: 'mid' | 'wide'; // shown from tablets on, or on wide screens only
  number?: boolean;
}

// Table has a real header cell for each column and each row. Columns with sort have a button.
export function Table<T>({ caption, columns, items, rowKey, place, busy }: {
  caption: string; columns: Column<T>[]; items: T[]; rowKey: (item: T) => string; place?: Place; busy?: boolean;
}) {
  const sort = place?.query.get('sort') ?? '';
  const by = sort.replace(/^-/, '');
  const name = (c: Column<T>) => [c.level, c.number ? 'number' : ''].filter(Boolean).join(' ') || undefined;
  return (
    <table class={busy ? 'busy' : undefined} aria-busy={busy}>
      <caption class="hidden">{caption}</caption>
      <thead>
        <tr>
          {columns.map((c) => (
            <th scope="col" class={name(c)} key={c.name}
              aria-sort={c.sort && by === c.sort ? (sort[0] === '-' ? 'descending' : 'ascending') : undefined}>
              {c.sort && place ? (
                <button type="button" class="sort" onClick={() => change(place, { sort: sort === c.sort ? `-${c.sort}` : c.sort!, cursor: '' }, { replace: true })}>
                  {c.name}<span aria-hidden="true">{by === c.sort ? (sort[0] === '-' ? ' ↓' : ' ↑') : ''}</span>
                </button>
              ) : c.name}
            </th>
          ))}
        </tr>
      </thead>
      <tbody>
        {items.map((item) => (
          <tr key={rowKey(item)}>
            {columns.map((c, i) => (i === 0
              ? <th scope="row" key={c.name}>{c.cell(item)}</th>
              : <td class={name(c)} key={c.name}>{c.cell(item)}</td>))}
          </tr>
        ))}
      </tbody>
    </table>
  );
}

// Pager leads through a list that the server pages. The pages before this one are in the address,
// so that Previous works after a reload too.
export function Pager({ place, shown, total, next, word }: { place: Place; shown: number; total?: number; next?: string; word: string }) {
  const cursor = place.query.get('cursor') ?? '';
  const past = cursor ? (place.query.get('past') ?? '').split('~') : []; // '' is the first page
  const text = total === undefined ? plural(shown, word) : shown < total || cursor ? `${count(shown)} of ${plural(total, word)}` : plural(total, word);
  useEffect(() => { announce(text); }, [text]);
  return (
    <nav class="pager" aria-label="Pages">
      <span>{text}</span>
      {(cursor || next) && (
        <span class="pager-buttons">
          <button type="button" disabled={!cursor} onClick={() => { change(place, { cursor: past.at(-1) ?? '', past: past.slice(0, -1).join('~') }); top(); }}>Previous</button>
          <button type="button" disabled={!next} onClick={() => { change(place, { cursor: next!, past: [...past, cursor].slice(-20).join('~') }); top(); }}>Next</button>
        </span>
      )}
    </nav>
  );
}

function top() { window.scrollTo(0, 0); }

// Search is a field whose text goes into the query when no key was pressed for a moment.
export function Search({ place, label }: { place: Place; label: string }) {
  const now = place.query.get('search') ?? '';
  const [text, setText] = useState(now);
  const timer = useRef(0);
  const sent = useRef(now);
  useEffect(() => { if (now !== sent.current) { sent.current = now; setText(now); } }, [now]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const send = (value: string) => {
    sent.current = value;
    change(place, { search: value, cursor: '', past: '' }, { replace: true });
  };
  return (
    <form role="search" class="search" onSubmit={(e) => { e.preventDefault(); clearTimeout(timer.current); send(text); }}>
      <label>
        <span>{label}</span>
        <input type="search" value={text} maxLength={200} autocomplete="off" spellcheck={false} onInput={(e) => {
          const value = e.currentTarget.value;
          setText(value);
          clearTimeout(timer.current);
          timer.current = window.setTimeout(() => send(value), 200);
        }} />
      </label>
    </form>
  );
}

export function Filter({ place, name, label, options }: { place: Place; name: string; label: string; options: string[] }) {
  const now = place.query.get(name) ?? '';
  const all = now && !options.includes(now) ? [...options, now] : options;
  return (
    <label class="filter">
      <span>{label}</span>
      <select value={now} onChange={(e) => change(place, { [name]: e.currentTarget.value, cursor: '', past: '' }, { replace: true })}>
        <option value="">All</option>
        {all.map((o) => <option value={o} key={o}>{o}</option>)}
      </select>
    </label>
  );
}

// Dialog asks before something is done. The browser keeps the focus inside and gives it back; Escape closes.
export function Dialog({ title, children, action, danger, onDone }: {
  title: string; children: ComponentChildren; action: string; danger?: boolean; onDone: (yes: boolean) => void;
}) {
  const ref = useRef<HTMLDialogElement>(null);
  const id = useId();
  useEffect(() => {
    const before = document.activeElement as HTMLElement | null;
    ref.current?.showModal();
    return () => before?.focus?.();
  }, []);
  return (
    <dialog ref={ref} aria-labelledby={id} onCancel={(e) => { e.preventDefault(); onDone(false); }}>
      <h2 id={id}>{title}</h2>
      {children}
      <div class="buttons">
        <button type="button" onClick={() => onDone(false)}>Go back</button>
        <button type="button" class={danger ? 'danger' : 'primary'} onClick={() => onDone(true)}>{action}</button>
      </div>
    </dialog>
  );
}

export interface Tab { id: string; name: string }

// Tabs are links: each has an address of its own.
export function Tabs({ place, tabs, label }: { place: Place; tabs: Tab[]; label: string }) {
  const now = place.query.get('view') ?? tabs[0]!.id;
  return (
    <nav class="tabs" aria-label={label}>
      {tabs.map((t) => (
        <a key={t.id} aria-current={t.id === now ? 'page' : undefined}
          href={window.location.pathname + (t.id === tabs[0]!.id ? '' : `?view=${t.id}`)}>{t.name}</a>
      ))}
    </nav>
  );
}

export function Facts({ items }: { items: [string, ComponentChildren][] }) {
  return <dl class="facts">{items.map(([name, value]) => <div key={name}><dt>{name}</dt><dd>{value}</dd></div>)}</dl>;
}

export function Mark() {
  return (
    <svg viewBox="0 0 32 32" width="28" height="28" aria-hidden="true">
      <rect width="32" height="32" rx="8" class="mark" />
      <g fill="none" stroke="#fff" stroke-width="2.5" stroke-linecap="round"><path d="M16 9v6M16 15l-6 6M16 15l6 6" /></g>
      <g fill="#fff"><circle cx="16" cy="8.5" r="3" /><circle cx="9.5" cy="22.5" r="3" /><circle cx="22.5" cy="22.5" r="3" /></g>
    </svg>
  );
}
