package console

import (
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"github.com/edgekit/edgekit/controller/internal/cache"
	"github.com/edgekit/edgekit/controller/internal/summary"
	"github.com/edgekit/edgekit/controller/twins"
	"github.com/edgekit/edgekit/device/v1beta1"
	"github.com/edgekit/edgekit/meta/resources"
)

// liveEvery is the least time between two looks at the values of one device.
const liveEvery = 100 * time.Millisecond

// Live passes the reports of devices on to the users who look at them, and drops all others: it
// keeps nothing. It is a devices.Live. The zero value is ready; its methods may be called by
// several goroutines at once.
type Live struct {
	mu   sync.Mutex
	subs map[cache.Name]map[*liveReader]struct{}
}

// liveReader is one user who looks at one device.
type liveReader struct {
	changed chan struct{} // of capacity 1

	mu     sync.Mutex
	latest *twins.Report // nil after it was read
}

// Put passes a report on. A reader that has not read the last one gets only this one.
func (l *Live) Put(r twins.Report) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for reader := range l.subs[cache.Name{Namespace: r.Namespace, Name: r.Name}] {
		reader.mu.Lock()
		reader.latest = &r
		reader.mu.Unlock()
		select {
		case reader.changed <- struct{}{}:
		default:
		}
	}
}

// Delete does nothing: a device that is gone has no more values.
func (*Live) Delete(string, string) {}

// subscribe adds a reader until stop is called.
func (l *Live) subscribe(device cache.Name) (reader *liveReader, stop func()) {
	reader = &liveReader{changed: make(chan struct{}, 1)}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.subs == nil {
		l.subs = make(map[cache.Name]map[*liveReader]struct{})
	}
	if l.subs[device] == nil {
		l.subs[device] = make(map[*liveReader]struct{})
	}
	l.subs[device][reader] = struct{}{}
	return reader, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		delete(l.subs[device], reader)
		if len(l.subs[device]) == 0 {
			delete(l.subs, device)
		}
	}
}

func (r *liveReader) read() *twins.Report {
	r.mu.Lock()
	defer r.mu.Unlock()
	report := r.latest
	r.latest = nil
	return report
}

// Tee is a devices.Live that gives each report to several others. nil ones are left out.
type Tee []interface {
	Put(twins.Report)
	Delete(namespace, name string)
}

// Put gives a report to all.
func (t Tee) Put(r twins.Report) {
	for _, l := range t {
		if l != nil {
			l.Put(r)
		}
	}
}

// Delete passes on that a device is gone.
func (t Tee) Delete(namespace, name string) {
	for _, l := range t {
		if l != nil {
			l.Delete(namespace, name)
		}
	}
}

// liveEvent is one value of a device.
type liveEvent struct {
	Property string `json:"property"`
	Value    string `json:"value"`
	Time     string `json:"time,omitempty"`
}

// live follows the values of one device: those that change, at most ten times a second each.
func (s *Server) live(q *request, out *stream) error {
	namespace, name := q.PathValue("namespace"), q.PathValue("name")
	right := devicesRight("get", resources.DeviceStatuses, namespace, name)
	if err := s.must(q.Context(), q.who, right); err != nil {
		return err
	}
	if err := s.ready(); err != nil {
		return err
	}
	device := cache.Name{Namespace: namespace, Name: name}
	if _, ok := s.cfg.Devices.Devices().Load(device); !ok {
		return fail(http.StatusNotFound, "there is no device of this name")
	}
	reader, stop := s.cfg.Live.subscribe(device)
	defer stop()
	if !out.open() {
		return nil
	}
	sent := make(map[string]liveEvent)
	pause := time.NewTimer(0)
	defer pause.Stop()
	beats := time.NewTicker(beatEvery)
	defer beats.Stop()
	var changed chan struct{} // nil while a pause goes on
	for {
		select {
		case <-q.Context().Done():
			return nil
		case <-pause.C:
			changed = reader.changed
		case <-changed:
			if !sendValues(out, sent, reader.read()) {
				return nil
			}
			changed = nil
			pause.Reset(liveEvery)
		case <-beats.C:
			if !s.stillMay(q, right) || !out.beat() {
				return nil
			}
		}
	}
}

// sendValues sends the values that differ from those that were sent; false if the client is gone.
func sendValues(out *stream, sent map[string]liveEvent, report *twins.Report) bool {
	var status v1beta1.DeviceStatusStatus
	if report == nil || json.Unmarshal(report.Status, &status) != nil {
		return true
	}
	for i := range status.Twins {
		t := &status.Twins[i]
		if t.Reported == nil {
			continue
		}
		e := liveEvent{summary.Shorten(t.PropertyName, maxText), summary.Shorten(t.Reported.Value, maxValue), valueTime(t.Reported, report.Received)}
		if before, ok := sent[e.Property]; ok && before == e || !ok && len(sent) >= maxTwins {
			continue
		}
		sent[e.Property] = e
		out.event("", e)
	}
	return out.flush()
}
