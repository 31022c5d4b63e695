// The console's API of cloudcore: its types, requests, and the hooks that pages use.
import { useCallback, useEffect, useRef, useState } from 'preact/hooks';
import { visible } from './text';

export const base = '/console/api/v1/';

export type NodeState = 'connected' | 'disconnected' | 'unknown';
export interface Page<T> { items: T[]; next?: string; total?: number }
export interface Me { user: string; groups?: string[]; can?: Record<string, boolean> }
export interface Site { name: string; total: number; connected: number }
export interface Summary {
  // A part that the user may not see is missing.
  nodes?: { total: number; connected: number; disconnected: number; unknown: number; notReady: number };
  versions?: { version: string; count: number }[];
  sites?: Site[];
  sitesTotal?: number;
  jobs?: { active: number };
  devices?: { total: number; online: number };
}
export interface NodeItem {
  name: string; site?: string; state: NodeState; ready?: boolean; version?: string;
  since?: string; pods?: number; address?: string;
}
export interface NodeDetail extends NodeItem {
  labels?: Record<string, string>;
  conditions?: { type: string; status: string; reason?: string; message?: string; since?: string }[];
  link?: { cloudcore?: string; transport?: string; connectedAt?: string };
}
export interface Pod {
  namespace: string; name: string; phase?: string; ready?: boolean; restarts?: number;
  since?: string; containers?: string[]; node?: string;
}
export interface Device {
  namespace: string; name: string; state?: string; model?: string; lastOnline?: string; node?: string;
}
export interface Twin { property: string; desired?: string; reported?: string; reportedAt?: string; unit?: string }
export interface DeviceDetail extends Device { twins?: Twin[]; twinsError?: string }
export interface Event { time?: string; type?: string; reason?: string; object?: string; message?: string; count?: number }
export interface Job {
  kind: string; name: string; phase?: string; reason?: string; message?: string;
  total: number; done: number; failed: number; paused?: boolean; created?: string; age?: string; actions?: string[];
}
export interface JobNode { node: string; phase?: string; reason?: string; message?: string; time?: string }
export interface JobDetail extends Job {
  counts?: Record<string, number>;
  nodes?: Page<JobNode>;
}

// Failure is why a request did not give an answer. Code 0: cloudcore cannot be reached.
export class Failure extends Error {
  constructor(readonly code: number, message: string) { super(message); }
  get away(): boolean { return this.code === 0 || this.code === 429 || this.code >= 500; }
}

// path joins segments of the API, each escaped.
export function path(...segments: string[]): string {
  return segments.map(encodeURIComponent).join('/');
}

// query returns "?a=b" of what is set.
export function query(values: Record<string, string | number | undefined>): string {
  const q = new URLSearchParams();
  for (const [key, value] of Object.entries(values)) if (value !== undefined && value !== '') q.set(key, String(value));
  const text = q.toString();
  return text ? `?${text}` : '';
}

// parse makes every text of an answer safe to show: what comes from nodes may be hostile.
export function parse(text: string): unknown {
  return JSON.parse(text, (_key, value) => (typeof value === 'string' ? visible(value) : value));
}

let whenLoggedOut: () => void = () => {};

// onLoggedOut names what is called when the API says that nobody is logged in.
export function onLoggedOut(call: () => void) { whenLoggedOut = call; }

// loggedOut forgets what the user saw: the next one in this tab may have other rights.
export function loggedOut() { kept.clear(); whenLoggedOut(); }

async function failureOf(response: Response): Promise<Failure> {
  let message = '';
  try {
    const body = parse((await response.text()).slice(0, 10000)) as { error?: { message?: string } };
    message = body.error?.message ?? '';
  } catch { /* not JSON: the code says enough */ }
  return new Failure(response.status, message);
}

const limit = 20000; // milliseconds for an answer

// request sends one request. It throws a Failure, or the AbortError of its signal.
export async function request(method: string, to: string, body?: unknown, signal?: AbortSignal): Promise<Response> {
  const ends = signal ? AbortSignal.any([signal, AbortSignal.timeout(limit)]) : AbortSignal.timeout(limit);
  const headers: Record<string, string> = { Accept: 'application/json' };
  if (method !== 'GET') {
    headers['Content-Type'] = 'application/json';
    headers['X-Edgekit-Console'] = '1';
  }
  let response: Response;
  try {
    response = await fetch(base + to, {
      method, headers, signal: ends, cache: 'no-store', credentials: 'same-origin',
      body: body === undefined ? undefined : JSON.stringify(body),
    });
  } catch (e) {
    if (signal?.aborted) throw e;
    throw new Failure(0, 'cloudcore does not answer.');
  }
  if (!response.ok) {
    const failure = await failureOf(response);
    if (failure.code === 401 && to !== 'session') loggedOut();
    throw failure;
  }
  return response;
}

export async function get<T>(to: string, signal?: AbortSignal): Promise<T> {
  const response = await request('GET', to, undefined, signal);
  try {
    return parse(await response.text()) as T;
  } catch (e) {
    if (signal?.aborted) throw e;
    throw new Failure(502, 'cloudcore gave an answer that is not complete.');
  }
}

// kept has the last answers, so that Back shows a page at once and then brings it up to date.
const kept = new Map<string, unknown>();

function keep(to: string, value: unknown) {
  kept.delete(to);
  kept.set(to, value);
  if (kept.size > 40) kept.delete(kept.keys().next().value!);
}

export interface Resource<T> {
  data?: T;
  failure?: Failure;
  busy: boolean; // a request for what is not shown yet is on its way
  at?: Date; // when data came
  reload(): void;
  update(change: (data: T) => T): void;
}

interface Held<T> { to: string | null; data?: T; failure?: Failure; at?: Date; busy: boolean }

// useResource reads a resource, and reads it again every so many seconds while the page is seen.
// When cloudcore does not answer it keeps what it has and tries again, at longer and longer pauses.
// With keepOld it shows what it had until the answer for a new address is there.
export function useResource<T>(to: string | null, options: { every?: number; keepOld?: boolean } = {}): Resource<T> {
  const { every = 0, keepOld = false } = options;
  const [held, setHeld] = useState<Held<T>>(() => ({ to, data: to ? (kept.get(to) as T) : undefined, busy: true }));
  const [round, setRound] = useState(0);
  const failures = useRef(0);
  const shown = held.to === to ? held : { to, data: ((to && kept.get(to)) as T) ?? (keepOld ? held.data : undefined), busy: true };

  useEffect(() => {
    if (to === null) return;
    const control = new AbortController();
    let timer = 0;
    const again = (seconds: number) => {
      timer = window.setTimeout(() => (document.hidden ? again(seconds) : setRound((n) => n + 1)), seconds * 1000);
    };
    get<T>(to, control.signal).then(
      (data) => {
        failures.current = 0;
        keep(to, data);
        setHeld({ to, data, at: new Date(), busy: false });
        if (every) again(every);
      },
      (e) => {
        if (control.signal.aborted) return;
        const failure = e instanceof Failure ? e : new Failure(0, String(e));
        setHeld((old) => ({
          to, failure, busy: false,
          data: failure.away ? (old.to === to ? old.data : (kept.get(to) as T)) : undefined, at: old.to === to ? old.at : undefined,
        }));
        if (failure.away) again(Math.min(30, 2 ** ++failures.current));
      },
    );
    return () => { control.abort(); clearTimeout(timer); };
  }, [to, round, every]);

  const reload = useCallback(() => setRound((n) => n + 1), []);
  const update = useCallback((change: (data: T) => T) => setHeld((old) => (old.data === undefined ? old : { ...old, data: change(old.data) })), []);
  return { data: shown.data, failure: (shown as Held<T>).failure, busy: shown.busy, at: (shown as Held<T>).at, reload, update };
}

export type LiveState = 'connecting' | 'live' | 'lost';

// useEvents listens to server-sent events for as long as the component is there and seen, and
// connects anew when they end. A page that is not seen gives its connection back: over HTTP/1.1 a
// browser has six for all its tabs. The handlers may change with each render.
export function useEvents(to: string | null, handlers: Record<string, (data: never) => void>): LiveState {
  const [state, setState] = useState<LiveState>('connecting');
  const current = useRef(handlers);
  current.current = handlers;
  const names = Object.keys(handlers).join();
  useEffect(() => {
    if (to === null) return;
    let source: EventSource | undefined;
    let timer = 0;
    let lost = 0;
    const open = () => {
      if (document.hidden) return;
      source = new EventSource(base + to);
      source.onopen = () => { lost = 0; setState('live'); };
      source.onerror = () => {
        setState('lost');
        source?.close();
        timer = window.setTimeout(open, 1000 * Math.min(30, 2 ** ++lost) * (0.5 + Math.random() / 2));
      };
      for (const name of names.split(',')) {
        source.addEventListener(name, (e) => {
          let data: unknown;
          try { data = parse((e as MessageEvent<string>).data); } catch { return; }
          current.current[name]?.(data as never);
        });
      }
    };
    const seen = () => {
      clearTimeout(timer);
      source?.close();
      open();
    };
    document.addEventListener('visibilitychange', seen);
    open();
    return () => {
      document.removeEventListener('visibilitychange', seen);
      clearTimeout(timer);
      source?.close();
    };
  }, [to, names]);
  return state;
}
