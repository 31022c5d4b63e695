// Addresses under /console/: the page's own links change the address without a load, Back and
// Forward work, and every address can be opened directly.
import { useEffect, useState } from 'preact/hooks';

export const root = '/console/';

export interface Place { segments: string[]; query: URLSearchParams; url: string }

function here(): Place {
  const { pathname, search } = window.location;
  let segments: string[];
  try {
    segments = pathname.slice(root.length).split('/').filter(Boolean).map(decodeURIComponent);
  } catch {
    segments = ['', '']; // an address that is not UTF-8: no page has it
  }
  return { segments, query: new URLSearchParams(search), url: pathname + search };
}

const listeners = new Set<() => void>();
const scrolls = new Map<number, number>();
let entry = 0;

function changed() { for (const call of listeners) call(); }

// go shows the page of an address. With replace, Back does not come here again.
export function go(url: string, options: { replace?: boolean } = {}) {
  if (options.replace) {
    history.replaceState({ entry }, '', url);
  } else {
    scrolls.set(entry, window.scrollY);
    entry = Date.now();
    history.pushState({ entry }, '', url);
  }
  changed();
}

// link returns the address of a page from its segments and query.
export function link(segments: string[], query: Record<string, string | undefined> = {}): string {
  const q = new URLSearchParams();
  for (const [key, value] of Object.entries(query)) if (value) q.set(key, value);
  const text = q.toString();
  return root + segments.map(encodeURIComponent).join('/') + (text ? `?${text}` : '');
}

// inside returns an address of the console, and the first page for any other: a link that somebody
// sends cannot lead elsewhere after the login.
export function inside(url: string | null): string {
  try {
    const u = new URL(url ?? '', window.location.origin);
    return u.origin === window.location.origin && u.pathname.startsWith(root) ? u.pathname + u.search : root;
  } catch {
    return root;
  }
}

// startRouter begins to answer clicks on links and the browser's Back and Forward. It is called once.
export function startRouter() {
  history.scrollRestoration = 'manual';
  history.replaceState({ entry }, '');
  window.addEventListener('popstate', (e) => {
    scrolls.set(entry, window.scrollY);
    entry = (e.state as { entry?: number } | null)?.entry ?? 0;
    changed();
    requestAnimationFrame(() => window.scrollTo(0, scrolls.get(entry) ?? 0));
  });
  document.addEventListener('click', (e) => {
    if (e.defaultPrevented || e.button !== 0 || e.metaKey || e.ctrlKey || e.shiftKey || e.altKey) return;
    const a = (e.target as Element).closest?.('a');
    if (!a || a.target || a.origin !== window.location.origin || !a.pathname.startsWith(root) || a.hash) return;
    e.preventDefault();
    go(a.pathname + a.search);
  });
}

export function usePlace(): Place {
  const [place, setPlace] = useState(here);
  useEffect(() => {
    const call = () => setPlace(here());
    listeners.add(call);
    return () => { listeners.delete(call); };
  }, []);
  return place;
}

// change sets values of the query and shows that page; an empty one takes the value out.
export function change(place: Place, values: Record<string, string>, options: { replace?: boolean } = {}) {
  const q = new URLSearchParams(place.query);
  for (const [key, value] of Object.entries(values)) {
    if (value) q.set(key, value); else q.delete(key);
  }
  const text = q.toString();
  go(window.location.pathname + (text ? `?${text}` : ''), options);
}
