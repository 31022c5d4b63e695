package control_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/control"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// program is a Runner and its Queues with one pipeline, plant/hot, and a sink "up".
type program struct {
	waiting []pipeline.Event
	dead    map[string]pipeline.DeadLetter
	broken  error // ends Export and Tap after the first event
	asked   pipeline.TapRequest
	before  time.Time
	pushed  []string // steps, and the ids of the events that they got
	away    error    // what PushTo returns
	evicts  []string // dead letters that make room for those that PushTo makes
	idle    bool     // it has not run yet
}

func (p *program) PushTo(_ context.Context, ref pipeline.Ref, step string, events []pipeline.Event) error {
	if p.away != nil {
		return p.away
	}
	for _, e := range events {
		p.pushed = append(p.pushed, step+"/"+e.ID)
	}
	for _, id := range p.evicts {
		delete(p.dead, id)
	}
	return p.known(ref)
}

func (p *program) known(ref pipeline.Ref) error {
	if ref != (pipeline.Ref{Namespace: "plant", Name: "hot"}) {
		return fmt.Errorf("%w: %s", pipeline.ErrNotFound, ref)
	}
	return nil
}

func (p *program) Status() []pipeline.Status {
	if p.idle {
		return []pipeline.Status{{Ref: plant, State: pipeline.Failed}}
	}
	return []pipeline.Status{{Ref: pipeline.Ref{Namespace: "plant", Name: "hot"}, Generation: 3, State: pipeline.Running,
		Failures: []v1alpha1.Failure{{Step: "up", Reason: v1alpha1.ReasonSinkRetrying}},
		Steps: []pipeline.StepStats{{Name: "temps", Kind: "mqtt", Out: 7}, {Name: "hot", Kind: "filter", In: 7, Out: 2, Drop: 5, Busy: time.Second},
			{Name: "up", Part: "sink", Kind: "cloud", In: 2, Queue: pipeline.QueueStats{Events: 2, Bytes: 300, Oldest: time.Unix(1, 0)}}}}}
}

func (p *program) Tap(ctx context.Context, req pipeline.TapRequest, show func(pipeline.TapEvent) error) error {
	p.asked = req
	if err := p.known(req.Ref); err != nil {
		return err
	}
	waiting := p.waiting // a tap that its client has left may still run at the next request
	for i := range waiting {
		if err := show(pipeline.TapEvent{Event: waiting[i], Skipped: int64(i)}); err != nil {
			return err
		}
		if p.broken != nil {
			return p.broken
		}
	}
	if req.Events == 0 {
		<-ctx.Done()
	}
	return nil
}

func (p *program) Export(_ context.Context, ref pipeline.Ref, sink string, show func(pipeline.Event) error) error {
	if err := p.known(ref); err != nil || sink != "up" {
		return fmt.Errorf("%w: %s %s", pipeline.ErrNotFound, ref, sink)
	}
	for _, e := range p.waiting {
		if err := show(e); err != nil {
			return err
		}
		if p.broken != nil {
			return p.broken
		}
	}
	return nil
}

func (p *program) Drop(_ context.Context, ref pipeline.Ref, _ string, before time.Time) (int64, error) {
	p.before = before
	n := len(p.waiting)
	p.waiting = nil
	return int64(n), p.known(ref)
}

func (p *program) ReplaySent(_ context.Context, ref pipeline.Ref, _ string, from, to time.Time) (int64, error) {
	p.before = from
	return int64(to.Sub(from) / time.Second), p.known(ref)
}

func (p *program) DeadLetters(_ context.Context, ref pipeline.Ref, show func(string, pipeline.DeadLetter) error) error {
	for id, l := range p.dead {
		if err := show(id, l); err != nil {
			return err
		}
	}
	return p.known(ref)
}

func (p *program) DropDead(_ context.Context, ref pipeline.Ref, ids []string) (int64, error) {
	if err := p.known(ref); err != nil {
		return 0, err
	}
	for _, id := range ids {
		if _, ok := p.dead[id]; !ok {
			return 0, fmt.Errorf("%w: dead letter %s", pipeline.ErrNotFound, id)
		}
	}
	for _, id := range ids {
		delete(p.dead, id)
	}
	return int64(len(ids)), nil
}

func (p *program) Replay(ctx context.Context, ref pipeline.Ref, ids []string) (int64, error) {
	return p.DropDead(ctx, ref, ids)
}

// serve serves p on a unix socket.
func serve(t *testing.T, cfg control.Config) *control.Client {
	t.Helper()
	h, err := control.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute}
	done := make(chan error, 1)
	go func() { done <- server.Serve(l) }()
	t.Cleanup(func() {
		_ = server.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
	return control.NewClient(path)
}

func event(id string, data any) pipeline.Event {
	return pipeline.Event{ID: id, Source: "mqtt", Type: "t", Subject: "plant/d1/temp", Time: time.Unix(1, 0), Data: data, Extensions: map[string]string{"shift": "a"}}
}

var plant = pipeline.Ref{Namespace: "plant", Name: "hot"}

func TestControl(t *testing.T) {
	p := &program{waiting: []pipeline.Event{event("1", map[string]any{"v": 1.5}), event("2", []byte{1, 2}), event("3", math.NaN()), {Data: 4.0}},
		dead: map[string]pipeline.DeadLetter{"7": {Step: "up", Reason: "Refused", Message: "400", Time: time.Unix(2, 0), Event: event("9", "x")}}}
	c := serve(t, control.Config{Runner: p, Queues: p})
	ctx := t.Context()

	all, err := c.Status(ctx)
	if err != nil || len(all) != 1 || all[0].Ref() != plant || all[0].Generation != 3 || len(all[0].Failures) != 1 {
		t.Fatalf("%+v %v", all, err)
	}
	if s := all[0].Steps; len(s) != 3 || s[1].Drop != 5 || s[1].BusySeconds != 1 || s[1].Queue != nil || s[2].Queue == nil || s[2].Queue.Events != 2 || !s[2].Queue.Oldest.Equal(time.Unix(1, 0)) {
		t.Errorf("steps %+v", s)
	}

	var lines bytes.Buffer
	n, err := c.Export(ctx, plant, "up", &lines)
	want := `{"specversion":"1.0","id":"1","source":"mqtt","type":"t","subject":"plant/d1/temp","time":"1970-01-01T00:00:01Z","shift":"a","data":{"v":1.5}}` + "\n"
	if err != nil || n != 4 || !strings.HasPrefix(lines.String(), want) || !strings.Contains(lines.String(), `"data":4,"notACloudEvent":`) || !strings.Contains(lines.String(), `"data_base64":"AQI="`) || !strings.Contains(lines.String(), `"data":"NaN"`) {
		t.Errorf("%d events, %v:\n%s", n, err, &lines)
	}

	var tapped []control.TapEvent
	req := pipeline.TapRequest{Ref: plant, Step: "hot", Events: 3, PerSec: 5, Bytes: 100}
	if err := c.Tap(ctx, req, func(e control.TapEvent) error { tapped = append(tapped, e); return nil }); err != nil || len(tapped) != 4 || tapped[2].Skipped != 2 || p.asked != req {
		t.Errorf("%v %+v, asked %+v", err, tapped, p.asked)
	}
	ending, cancel := context.WithCancel(ctx)
	if err := c.Tap(ending, pipeline.TapRequest{Ref: plant, Step: "hot"}, func(control.TapEvent) error { cancel(); return nil }); err != nil {
		t.Errorf("a tap whose context ends: %v", err)
	}
	cancel()

	var letters []control.DeadLetter
	if err := c.DeadLetters(ctx, plant, func(l control.DeadLetter) error { letters = append(letters, l); return nil }); err != nil || len(letters) != 1 || letters[0].ID != "7" || letters[0].Reason != "Refused" {
		t.Errorf("%v %+v", err, letters)
	}
	if n, err := c.Replay(ctx, plant, "7"); n != 1 || err != nil {
		t.Error(n, err)
	}
	if _, err := c.DropDead(ctx, plant, "7"); !errors.Is(err, pipeline.ErrNotFound) {
		t.Error(err)
	}
	before := time.Unix(5, 17).UTC()
	if n, err := c.Drop(ctx, plant, "up", before); n != 4 || err != nil || !p.before.Equal(before) {
		t.Error(n, err, p.before)
	}
}

func TestReplaySent(t *testing.T) {
	p := &program{}
	c := serve(t, control.Config{Runner: p, Queues: p})
	from := time.Unix(5, 17).UTC()
	if n, err := c.ReplaySent(t.Context(), plant, "up", from, from.Add(time.Minute)); n != 60 || err != nil || !p.before.Equal(from) {
		t.Error(n, err, p.before)
	}
}

// TestReplaySteps: dead letters go back to the source or step that they are of; what it does not
// take stays.
func TestReplaySteps(t *testing.T) {
	p := &program{dead: make(map[string]pipeline.DeadLetter), away: pipeline.ErrNotRunning}
	for i := range 250 {
		p.dead[strconv.Itoa(i)] = pipeline.DeadLetter{Step: "hot", Event: event("e", nil)}
	}
	p.dead["source"] = pipeline.DeadLetter{Step: "temps", Event: event("raw", []byte("{"))}
	p.dead["empty"] = pipeline.DeadLetter{Step: "hot"} // of a panic at the end of a window
	p.dead["sink"] = pipeline.DeadLetter{Step: "up", Event: event("s", nil)}
	c := serve(t, control.Config{Runner: p, Queues: p})
	if _, err := c.Replay(t.Context(), plant, "source", "gone"); !errors.Is(err, pipeline.ErrNotFound) || len(p.dead) != 253 {
		t.Errorf("%v, %d are left", err, len(p.dead))
	}
	if _, err := c.Replay(t.Context(), plant); err == nil || len(p.dead) != 253 {
		t.Errorf("the pipeline does not run: %v, %d are left", err, len(p.dead))
	}
	p.away = nil
	if n, err := c.Replay(t.Context(), plant, "source", "sink"); n != 2 || err != nil || strings.Join(p.pushed, " ") != "temps/raw" {
		t.Error(n, err, p.pushed)
	}
	if n, err := c.Replay(t.Context(), plant); n != 250 || err != nil || len(p.pushed) != 251 || len(p.dead) != 1 {
		t.Error(n, err, len(p.pushed), p.dead)
	}
}

// TestReplayEvicts: letters of events that fail again make older ones go, which are then no error:
// what was given back does not stay, to be given back twice.
func TestReplayEvicts(t *testing.T) {
	p := &program{evicts: []string{"1", "4"}, dead: map[string]pipeline.DeadLetter{
		"1": {Step: "hot", Event: event("a", nil)}, "2": {Step: "hot", Event: event("b", nil)},
		"4": {Step: "up", Event: event("d", nil)}, "5": {Step: "up", Event: event("e", nil)},
	}}
	c := serve(t, control.Config{Runner: p, Queues: p})
	if n, err := c.Replay(t.Context(), plant, "1", "2", "4", "5"); n != 3 || err != nil || len(p.pushed) != 2 || len(p.dead) != 0 {
		t.Error(n, err, p.pushed, p.dead)
	}
}

// TestReplayNotRun: nobody knows yet of which steps the letters are. They stay, and the error does
// not say to drop them.
func TestReplayNotRun(t *testing.T) {
	p := &program{idle: true, dead: map[string]pipeline.DeadLetter{"1": {Step: "hot", Event: event("a", nil)}}}
	c := serve(t, control.Config{Runner: p, Queues: p})
	if _, err := c.Replay(t.Context(), plant); err == nil || err.Error() != pipeline.ErrNotRunning.Error() || len(p.dead) != 1 {
		t.Error(err, p.dead)
	}
}

// TestErrors: each failure has its status and its text; a stream that fails says so at its end.
func TestErrors(t *testing.T) {
	p := &program{waiting: []pipeline.Event{event("1", nil), event("2", nil)}, broken: errors.New("the disk is gone")}
	c := serve(t, control.Config{Runner: p, Queues: p})
	ctx, none := t.Context(), func(control.TapEvent) error { return nil }
	if err := c.Tap(ctx, pipeline.TapRequest{Ref: pipeline.Ref{Name: "x"}, Events: 1}, none); !errors.Is(err, pipeline.ErrNotFound) {
		t.Error(err)
	}
	var bad *control.RequestError
	if err := c.Tap(ctx, pipeline.TapRequest{Ref: plant, PerSec: 1 << 20}, none); !errors.As(err, &bad) || bad.Status != 400 || !strings.Contains(bad.Message, "rate must be") {
		t.Error(err)
	}
	var lines bytes.Buffer
	if n, err := c.Export(ctx, plant, "up", &lines); n != 1 || err == nil || !strings.Contains(err.Error(), "the disk is gone") {
		t.Error(n, err)
	}
	if _, err := c.DropDead(ctx, plant, strings.Split(strings.Repeat("1,", 1001), ",")...); !errors.As(err, &bad) || bad.Status != 400 {
		t.Error(err)
	}
	bare := serve(t, control.Config{Runner: p})
	if _, err := bare.Drop(ctx, plant, "up", time.Time{}); !errors.As(err, &bad) || bad.Status != 501 {
		t.Error(err)
	}
	if _, err := control.NewClient(filepath.Join(t.TempDir(), "none")).Status(ctx); !errors.Is(err, control.ErrNotRunning) {
		t.Error(err)
	}
	if _, err := control.New(control.Config{}); err == nil {
		t.Error("a Handler without Runner")
	}
}

// FuzzClient: what a program answers does not harm edgectl.
func FuzzClient(f *testing.F) {
	f.Add([]byte("{\"id\":\"1\"}\n{\"error\":\"x\"}\n"))
	f.Add([]byte("[]"))
	f.Fuzz(func(t *testing.T, body []byte) {
		l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
		if err != nil {
			t.Fatal(err)
		}
		server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(body) }), ReadHeaderTimeout: time.Minute}
		done := make(chan error, 1)
		go func() { done <- server.Serve(l) }()
		c := control.NewClient(l.Addr().String())
		_, _ = c.Status(t.Context())
		_ = c.DeadLetters(t.Context(), plant, func(control.DeadLetter) error { return nil })
		_ = server.Close()
		<-done
	})
}

func ExampleParseRef() {
	fmt.Println(control.ParseRef("plant/hot").Namespace, control.ParseRef("hot").Name)
	// Output: plant hot
}
