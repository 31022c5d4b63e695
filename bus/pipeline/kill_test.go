package pipeline_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/pipelinetest"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
	"github.com/edgekit/edgekit/meta"
	"github.com/edgekit/edgekit/meta/memstore"
)

// dyingStore is a store of a program that is killed at its n-th write: before or after it is
// durable. Then nothing can be written any more.
type dyingStore struct {
	meta.Store
	mu     sync.Mutex
	left   int
	after  bool
	killed chan struct{}
}

var errKilled = errors.New("the program is killed")

func (s *dyingStore) Apply(ctx context.Context, ops ...meta.Op) (uint64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case <-s.killed:
		return 0, errKilled
	default:
	}
	if s.left--; s.left > 0 {
		return s.Store.Apply(ctx, ops...)
	}
	if s.after {
		s.Store.Apply(ctx, ops...)
	}
	close(s.killed)
	return 0, errKilled
}

const killed = `
  sources: [{name: in, mqtt: {topic: a}, time: event.data.at}]
  steps:
  - {name: known, dedupe: {within: 24h}}
  - {name: sum, from: [in], window: {tumbling: 10s, lateness: 30s, key: event.data.k, aggregate: {sum: sum(event.data.v), count: count()}}}
  - {name: five, from: [known], window: {count: {size: 5}, key: event.data.k, aggregate: {sum: sum(event.data.v)}}}
  - {name: raw, from: [in], filter: {expression: 'true'}}
  sinks:
  - {name: out, from: [sum, five, raw], file: {path: x}}
`

// TestKill kills the program at any write, many times in one run, and wants each event to be
// counted once in each window, and each result to come at least once and always the same.
func TestKill(t *testing.T) {
	for seed := range uint64(15) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) { kill(t, rand.New(rand.NewPCG(seed, 21))) })
		})
	}
}

func kill(t *testing.T, r *rand.Rand) {
	store := memstore.New()
	defer store.Close()
	source := &pipelinetest.Source{}
	sink := &pipelinetest.Sink{}
	began := time.Now()
	events := 0
	sums := make(map[string]float64) // by key and window
	for kills := 0; ; kills++ {
		dying := &dyingStore{Store: store, left: 1 + r.IntN(12), after: r.IntN(2) == 0, killed: make(chan struct{})}
		if kills == 25 {
			dying.left = 1 << 30
		}
		runner, err := pipeline.New(pipeline.Config{
			Options: options(), Store: dying, Queues: &pipelinetest.Queues{Store: dying},
			Openers: pipelinetest.Ends{Sources: map[string]pipeline.Source{"in": source}, Sinks: map[string]pipeline.Sink{"out": sink}}.Openers(),
		})
		if err != nil {
			t.Fatal(err)
		}
		runner.Apply([]*v1alpha1.Pipeline{parse(t, killed)})
		ctx, cancel := context.WithCancel(t.Context())
		var group sync.WaitGroup
		group.Go(func() { runner.Run(ctx) })
		for alive := true; alive; {
			if kills < 25 {
				for range r.IntN(20) {
					k, v := string(rune('a'+r.IntN(3))), float64(r.IntN(100))
					at := time.Since(began) - time.Duration(r.IntN(10))*time.Second
					sums[fmt.Sprint(k, began.Add(at).Truncate(10*time.Second).UTC().Format(time.RFC3339))] += v
					source.Emit(pipeline.Event{ID: fmt.Sprint(events), Data: map[string]any{"k": k, "v": v, "at": began.Add(at).Format(time.RFC3339Nano)}})
					events++
				}
				time.Sleep(time.Duration(r.IntN(3000)) * time.Millisecond)
			} else {
				time.Sleep(5 * time.Minute)
				alive = false
			}
			synctest.Wait()
			select {
			case <-dying.killed:
				alive = false
			default:
			}
		}
		cancel()
		group.Wait()
		if kills == 25 {
			break
		}
	}
	check(t, sink.Events(), events, sums)
}

// check looks at all that the sink has got.
func check(t *testing.T, sent []pipeline.Event, events int, sums map[string]float64) {
	byID := make(map[string]pipeline.Event)
	raw, five := 0, 0.0
	have := make(map[string]float64)
	total, want := 0.0, 0.0
	for _, e := range sent {
		if before, ok := byID[e.ID]; ok {
			if asJSON(before.Data) != asJSON(e.Data) {
				t.Errorf("%s came as %v and as %v", e.ID, before.Data, e.Data)
			}
			continue
		}
		byID[e.ID] = e
		m := e.Data.(map[string]any)
		w, ok := m["window"].(map[string]any)
		switch {
		case !ok:
			raw++
		case m["count"] == nil:
			five += m["sum"].(float64)
		default:
			have[fmt.Sprint(m["key"], w["start"])] = m["sum"].(float64)
			total += m["sum"].(float64)
		}
	}
	for _, v := range sums {
		want += v
	}
	if raw != events {
		t.Errorf("%d of %d events came", raw, events)
	}
	for k, v := range sums {
		if v != have[k] {
			t.Errorf("%s: sum %v, want %v", k, have[k], v)
		}
	}
	if five > want || five < want-3*4*100 { // each key may have up to four events left
		t.Errorf("windows of five have %v of %v", five, want)
	}
	if len(sent) < 100 {
		t.Errorf("only %d events were sent", len(sent))
	}
}

func asJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(raw)
}
