// One device: its twins as they change, and a graph of one of them.
import { useEffect, useRef, useState } from 'preact/hooks';
import { path, useEvents, useResource, type DeviceDetail, type Twin } from './api';
import { add, Chart, numeric, type Series } from './chart';
import { link } from './router';
import { Ago, Empty, Facts, Heading, Live, Loaded, Notice, State, Table } from './ui';

interface LiveValue { property: string; value: string; time?: string }

export function Device({ namespace, name }: { namespace: string; name: string }) {
  const to = path('devices', namespace, name);
  const device = useResource<DeviceDetail>(to, { every: 30 });
  const series = useRef(new Map<string, Series>());
  const [chosen, setChosen] = useState('');
  const [paused, setPaused] = useState(false);
  const [changed, setChanged] = useState(0);
  const held = useRef(new Map<string, LiveValue>()); // of the last quarter of a second
  const newest = useRef(new Map<string, LiveValue>());
  const frame = useRef(0);
  useEffect(() => () => clearTimeout(frame.current), []);

  const put = (property: string, value: string | undefined, time: string | undefined) => {
    const n = numeric(value);
    const at = time ? Date.parse(time) / 1000 : NaN;
    if (n === undefined || Number.isNaN(at)) return;
    let s = series.current.get(property);
    if (!s) {
      if (series.current.size >= 500) return;
      series.current.set(property, s = { times: [], values: [] });
    }
    add(s, at, n);
  };
  // A device may report a thousand times a second: the page is drawn four times in that time.
  const live = useEvents(paused ? null : `${to}/live`, {
    message: (v: LiveValue) => {
      put(v.property, v.value, v.time);
      if (held.current.size < 500 || held.current.has(v.property)) held.current.set(v.property, v);
      frame.current ||= window.setTimeout(() => {
        frame.current = 0;
        const values = held.current;
        held.current = new Map();
        for (const v of values.values()) newest.current.set(v.property, v);
        setChanged((n) => n + 1);
      }, 250);
    },
  });

  return (
    <>
      <Heading title={name} over={<><a href={link(['devices'])}>Devices</a> / {namespace}</>}>
        {device.data && <State value={device.data.state || 'unknown'} />}
        {!paused && <Live state={live} />}
      </Heading>
      <Loaded from={device} what="device">
        {(d) => {
          const twins = merged(d.twins ?? [], newest.current);
          for (const t of twins) put(t.property, t.reported, t.reportedAt);
          const drawn = twins.filter((t) => numeric(t.reported) !== undefined || series.current.has(t.property));
          const now = drawn.find((t) => t.property === chosen) ?? drawn[0];
          if (now && !series.current.has(now.property)) series.current.set(now.property, { times: [], values: [] });
          return (
            <>
              <section class="panel padded" aria-label="Summary">
                <Facts items={[
                  ['Node', d.node ? <a href={link(['nodes', d.node])}>{d.node}</a> : 'none'],
                  ['Model', d.model || '–'],
                  ['Last online', <Ago time={d.lastOnline} none="never" />],
                ]} />
              </section>
              {now && (
                <section class="panel padded" aria-label="Graph">
                  <div class="tools inside">
                    <label class="filter"><span>Property</span>
                      <select value={now.property} onChange={(e) => setChosen(e.currentTarget.value)}>
                        {drawn.map((t) => <option key={t.property} value={t.property}>{t.property}</option>)}
                      </select>
                    </label>
                    <button type="button" aria-pressed={paused} onClick={() => setPaused(!paused)}>{paused ? 'Go on' : 'Hold'}</button>
                    <span class="muted small">since you opened this page, at most ten minutes</span>
                  </div>
                  <Chart key={now.property} series={series.current.get(now.property)!} unit={now.unit} name={now.property} changed={changed} />
                </section>
              )}
              {d.twinsError && <Notice kind="warn" title="Reported values cannot be read."><p>{d.twinsError}</p></Notice>}
              <section class="panel">
                {twins.length === 0 ? <Empty title="The device has no property.">Its DeviceModel names them.</Empty> : (
                  <Table caption="Properties of this device" items={twins} rowKey={(t) => t.property} columns={[
                    { name: 'Property', cell: (t) => t.property },
                    { name: 'Reported', number: true, cell: (t) => <strong><Value text={t.reported} unit={t.unit} /></strong> },
                    { name: 'Desired', number: true, cell: (t) => <Value text={t.desired} unit={t.unit} other={t.reported} /> },
                    { name: 'Reported at', level: 'mid', number: true, cell: (t) => <Ago time={t.reportedAt} none="never" /> },
                  ]} />
                )}
              </section>
            </>
          );
        }}
      </Loaded>
    </>
  );
}

// merged puts live values in the place of what the API server has, which is older most of the time.
function merged(twins: Twin[], values: Map<string, LiveValue>): Twin[] {
  return twins.map((t) => {
    const v = values.get(t.property);
    return v && !(Date.parse(t.reportedAt ?? '') > Date.parse(v.time ?? '')) ? { ...t, reported: v.value, reportedAt: v.time ?? t.reportedAt } : t;
  });
}

function Value({ text, unit, other }: { text?: string; unit?: string; other?: string }) {
  if (text === undefined || text === '') return <span class="muted">–</span>;
  const differs = other !== undefined && other !== text;
  return <span class={differs ? 'value warn-text' : 'value'} title={differs ? 'The device has not reported this value yet.' : undefined}>{text}{unit && <small> {unit}</small>}</span>;
}
