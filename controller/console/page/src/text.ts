// What is done to text before it is shown, and how numbers and times are written.

// Controls a reader cannot see: C0 and C1, and what changes the direction or hides text.
const hidden = /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]/g;

// visible returns a text in which each hidden character has a visible stand-in, so that a
// hostile label can neither hide what it says nor turn round what stands beside it.
export function visible(text: string): string {
  return text.replace(hidden, (c) => {
    const code = c.charCodeAt(0);
    if (code < 0x20) return String.fromCharCode(0x2400 + code);
    return code === 0x7f ? '\u2421' : `\\u${code.toString(16).padStart(4, '0')}`;
  });
}

// Whole terminal sequences: CSI (colours, cursor), OSC (titles, links) and the two-byte ones.
const sequences = /\u001b\[[0-9:;<=>?]*[ -/]*[@-~]|\u001b[\]PX^_][^\u0007\u001b]*(?:\u0007|\u001b\\)|\u001b[ -/]*[0-Z\\^-~]/g;

// logText returns a log's text without terminal sequences. What is left of controls is made visible.
export function logText(text: string): string {
  return visible(text.replace(/\r\n/g, '\n').replace(sequences, ''));
}

const numbers = new Intl.NumberFormat('en');

export function count(n: number | undefined): string {
  return n === undefined || n === null ? '–' : numbers.format(n);
}

// plural returns "1 node" or "2 nodes".
export function plural(n: number, word: string): string {
  return `${count(n)} ${word}${n === 1 ? '' : 's'}`;
}

// duration returns the largest unit or two of a time in seconds: 45s, 3m, 2h 5m, 9d.
export function duration(seconds: number): string {
  const s = Math.max(0, Math.round(seconds));
  if (s < 60) return `${s}s`;
  const m = Math.floor(s / 60);
  if (m < 60) return `${m}m`;
  const h = Math.floor(m / 60);
  if (h < 24) return m % 60 && h < 10 ? `${h}h ${m % 60}m` : `${h}h`;
  const d = Math.floor(h / 24);
  return h % 24 && d < 3 ? `${d}d ${h % 24}h` : `${d}d`;
}

// seconds returns how long ago a time is; undefined for none.
export function secondsAgo(time: string | undefined): number | undefined {
  const at = time ? Date.parse(time) : NaN;
  return Number.isNaN(at) ? undefined : (Date.now() - at) / 1000;
}

export function clock(time: Date): string {
  return time.toLocaleTimeString('en-GB');
}

export function dateTime(time: string | undefined): string {
  const at = time ? new Date(time) : undefined;
  return !at || Number.isNaN(at.getTime()) ? '' : `${at.toISOString().slice(0, 19).replace('T', ' ')} UTC`;
}
