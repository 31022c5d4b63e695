package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/wire"
)

// TestNoneLost: edgepipe is killed again and again while messages come; each reaches the cloud's
// outbox, and what is sent twice has the same id.
func TestNoneLost(t *testing.T) {
	e := newEdge(t)
	e.apply(t, "all", 1, `{"nodeName":"edge-7","sources":[{"name":"in","mqtt":{"topic":"plant/+/temp","qos":1}}],
		"sinks":[{"name":"up","cloud":{"url":"https://example.com/in"},"batch":{"events":20,"linger":"10ms"}}]}`)
	e.until(t, "all", running)
	const count, kills = 300, 3
	for i := range count {
		e.publish(t, fmt.Sprintf("plant/d%d/temp", i%7), fmt.Sprintf(`{"n":%d}`, i))
		if i > 0 && i%(count/(kills+1)) == 0 && i/(count/(kills+1)) <= kills {
			before := e.host.Stats().Restarts
			e.kill(t)
			tick, limit := time.NewTicker(10*time.Millisecond), time.After(patience)
			for e.host.Stats().Restarts == before || !e.host.Stats().Running {
				select {
				case <-tick.C:
				case <-limit:
					t.Fatal("edgepipe is not started again")
				}
			}
			tick.Stop()
		}
	}
	seen := make(map[int]string)
	e.drain(t, func(all []event) bool {
		for _, one := range all {
			n, ok := one.Data["n"].(float64)
			if !ok {
				t.Fatalf("%+v", one)
			}
			if id, known := seen[int(n)]; known && id != one.ID {
				t.Logf("message %v has the ids %s and %s", n, id, one.ID) // MQTT has none of its own
			}
			seen[int(n)] = one.ID
		}
		return len(seen) == count
	})
}

// TestStatus: what is wrong with one pipeline is in its status, and the others go on; a change
// mends it.
func TestStatus(t *testing.T) {
	e := newEdge(t)
	const source = `"sources":[{"name":"in","mqtt":{"topic":"a","qos":1}}]`
	const sink = `"sinks":[{"name":"up","cloud":{"url":"https://example.com/in"}}]`
	e.apply(t, "wrong", 1, `{`+source+`,"steps":[{"name":"hot","filter":{"expression":"event.data.value >"}}],`+sink+`}`)
	e.apply(t, "others", 1, `{"sources":[{"name":"in","mqtt":{"topic":"$hw/events/device/other/d/twin/update","qos":1}}],`+sink+`}`)
	e.apply(t, "good", 1, `{`+source+`,`+sink+`}`)
	e.until(t, "good", running)
	e.until(t, "wrong", func(r *wire.Report) bool {
		return r.State == wire.Failed && len(r.Failures) > 0 && r.Failures[0].Step == "hot"
	})
	e.until(t, "others", func(r *wire.Report) bool {
		return len(r.Failures) > 0 && strings.Contains(r.Failures[0].Message, "the devices of its namespace")
	})
	e.apply(t, "wrong", 2, `{`+source+`,"steps":[{"name":"hot","filter":{"expression":"event.data.value > 1.0"}}],`+sink+`}`)
	e.until(t, "wrong", func(r *wire.Report) bool { return r.State == wire.Running && r.Generation == 2 })
	e.memory(t, "edgepipe_idle")
	if info, err := os.Stat(filepath.Join(e.folder, wire.Socket)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the socket: %v, %v", info, err)
	}
}

// TestSensors: sensors at 10 Hz for three minutes of their own time, with the link cut all the
// while: the pipeline aggregates by minute and forwards only exceptions, each once, and the link
// carries at least 95 % less than it would of the raw messages in the same form. SENSORS says how
// many; the target e2e-pipeline has 1,000.
func TestSensors(t *testing.T) {
	sensors := 20
	if text := os.Getenv("SENSORS"); text != "" {
		var err error
		if sensors, err = strconv.Atoi(text); err != nil {
			t.Fatal(err)
		}
	}
	const minutes, hertz = 3, 10
	e := newEdge(t)
	e.apply(t, "exceptions", 1, `{"nodeName":"edge-7","sources":[{"name":"temps","mqtt":{"topic":"plant/+/temp","qos":1},"time":"event.data.at"}],
		"steps":[{"name":"minute","window":{"tumbling":"1m","key":"event.data.device","lateness":"10s","aggregate":{"avg":"avg(event.data.value)","most":"max(event.data.value)","count":"count()"}}},
			{"name":"hot","filter":{"expression":"event.data.avg > 80.0"}}],
		"sinks":[{"name":"up","cloud":{"url":"https://example.com/in"},"batch":{"events":100,"linger":"50ms"}}]}`)
	e.until(t, "exceptions", running)
	begin := time.Now().Add(-time.Hour).Truncate(time.Minute)
	exceptional := func(sensor, minute int) bool { return sensor%10 == minute }
	want, raw, rawBytes, started := 0, []pipeline.Event(nil), 0, time.Now()
	flush := func() {
		body, err := encode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if body, err = compress(body); err != nil {
			t.Fatal(err)
		}
		rawBytes += len((&wire.Batch{Sink: "up", URL: "https://example.com/in", Encoding: "gzip", Events: len(raw), Body: body}).Encode())
		raw = raw[:0]
	}
	for tick := range minutes*60*hertz + 20*hertz { // and time goes on, so that the last window ends
		e.room(t)
		at := begin.Add(time.Duration(tick) * time.Second / hertz)
		minute := tick / (60 * hertz)
		for s := range sensors {
			value := 20 + float64((tick*7+s*13)%100)/10
			if minute < minutes && exceptional(s, minute) {
				value += 70
				if tick%(60*hertz) == 0 {
					want++
				}
			}
			payload := fmt.Sprintf(`{"device":"d%d","at":%q,"value":%.1f}`, s, at.Format(time.RFC3339Nano), value)
			topic := fmt.Sprintf("plant/d%d/temp", s)
			e.publish(t, topic, payload)
			raw = append(raw, pipeline.Event{
				ID: fmt.Sprintf("%d-%d", tick, s), Source: "/edge-7/plant/exceptions/temps", Type: "io.edgekit.mqtt", Subject: topic, Time: at,
				Data: map[string]any{"device": fmt.Sprintf("d%d", s), "at": at.Format(time.RFC3339Nano), "value": value},
			})
			if len(raw) == 100 {
				flush()
			}
		}
	}
	sent, rate := (minutes*60+20)*hertz*sensors, time.Since(started).Seconds()
	ids := make(map[string]bool)
	all, size := e.drain(t, func(all []event) bool {
		clear(ids)
		for _, one := range all {
			ids[one.ID] = true
		}
		return len(ids) >= want
	})
	if len(all) != want || len(ids) != want {
		t.Errorf("%d aggregates with %d ids came, %d were exceptional", len(all), len(ids), want)
	}
	for _, one := range all {
		if n, _ := one.Data["count"].(float64); n != 60*hertz {
			t.Errorf("a window has %v events: %+v", n, one)
		}
	}
	if n := e.broker.Stats().Dropped; n > 0 {
		t.Errorf("the broker dropped %d messages", n)
	}
	saved := 100 * (1 - float64(size)/float64(rawBytes))
	fmt.Printf("RESULT pipeline_sensors sensors=%d messages=%d seconds=%.1f messages_per_second=%.0f aggregates=%d link_bytes=%d raw_bytes=%d saved=%.2f%%\n",
		sensors, sent, time.Since(started).Seconds(), float64(sent)/rate, len(all), size, rawBytes, saved)
	if saved < 95 {
		t.Errorf("the link carries %d bytes, raw messages would be %d: %.1f %% less", size, rawBytes, saved)
	}
}
