// The graph of one property: what has come since the page was opened, or the last ten minutes of it.
import { useEffect, useRef } from 'preact/hooks';
import uPlot from 'uplot';

export const span = 600; // seconds that a graph has
const most = 2000; // points that a series keeps

// Series are the points of one property, oldest first: seconds and values.
export interface Series { times: number[]; values: number[] }

// add puts a point into a series. What is older than the span goes, and so does a point that is
// older than the newest: a node's clock may go backwards.
export function add(series: Series, time: number, value: number): boolean {
  const newest = series.times.at(-1);
  if (newest !== undefined && time <= newest) return false;
  series.times.push(time);
  series.values.push(value);
  while (series.times.length > most || series.times[0]! < time - span) {
    series.times.shift();
    series.values.shift();
  }
  return true;
}

// numeric returns the number of a value that can be drawn: a number, or true and false as 1 and 0.
export function numeric(value: string | undefined): number | undefined {
  if (value === undefined || value.trim() === '') return undefined;
  if (value === 'true') return 1;
  if (value === 'false') return 0;
  const n = Number(value);
  return Number.isFinite(n) ? n : undefined;
}

export function Chart({ series, unit, name, changed }: { series: Series; unit?: string; name: string; changed: number }) {
  const box = useRef<HTMLDivElement>(null);
  const plot = useRef<uPlot | undefined>(undefined);

  useEffect(() => {
    const parent = box.current!;
    const make = () => {
      const css = getComputedStyle(document.documentElement);
      const colour = (v: string) => css.getPropertyValue(v).trim();
      const axis = { stroke: colour('--muted'), grid: { stroke: colour('--line'), width: 1 }, ticks: { show: false }, font: '12px system-ui, sans-serif' };
      plot.current?.destroy();
      plot.current = new uPlot({
        width: parent.clientWidth,
        height: 240,
        legend: { show: false },
        cursor: { y: false, drag: { x: false, y: false } },
        scales: { x: { time: true }, y: { range: (_u, low, high) => padded(low, high) } },
        axes: [
          { ...axis, space: 70, size: 34, values: (_u, at) => at.map((t) => new Date(t * 1000).toLocaleTimeString('en-GB')) },
          { ...axis, size: 64, values: (_u, at) => at.map((v) => `${Number(v.toPrecision(6))}${unit ? ` ${unit}` : ''}`) },
        ],
        series: [{}, { stroke: colour('--accent'), width: 2, fill: colour('--accent-faint'), points: { show: series.times.length < 60, size: 5 } }],
      }, [series.times, series.values], parent);
    };
    make();
    const resized = new ResizeObserver(() => plot.current?.setSize({ width: parent.clientWidth, height: 240 }));
    resized.observe(parent);
    const scheme = matchMedia('(prefers-color-scheme: dark)');
    scheme.addEventListener('change', make);
    return () => {
      resized.disconnect();
      scheme.removeEventListener('change', make);
      plot.current?.destroy();
      plot.current = undefined;
    };
  }, [series, unit]);

  useEffect(() => { plot.current?.setData([series.times, series.values]); }, [changed]);

  const values = series.values;
  const said = values.length === 0 ? 'no value yet'
    : `${values.length} values, the last ${values.at(-1)}, between ${Math.min(...values)} and ${Math.max(...values)}`;
  return <div class="chart" ref={box} role="img" aria-label={`Graph of ${name}: ${said}`} />;
}

function padded(low: number | null, high: number | null): [number, number] {
  if (low === null || high === null || !Number.isFinite(low) || !Number.isFinite(high)) return [0, 1];
  const pad = (high - low) * 0.12 || Math.max(1, Math.abs(high) * 0.05);
  return [low - pad, high + pad];
}
