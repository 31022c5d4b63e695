package pipelinetest

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// Source emits what Emit is given. It can be opened any number of times, by several
// pipelines, and remembers what is not safe yet: when it is opened anew it emits that again,
// as a broker does. The zero value is ready.
type Source struct {
	mu      sync.Mutex
	waiting [][]pipeline.Event // not safe, in order
	next    int                // of waiting, to be emitted
	changed chan struct{}
	acked   chan struct{}
	fail    error
	safe    int
}

// Emit queues events, which are emitted at once. It does not wait.
func (s *Source) Emit(events ...pipeline.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.waiting = append(s.waiting, events)
	s.notifyLocked()
}

// Fail ends Run with an error, once.
func (s *Source) Fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = err
	s.notifyLocked()
}

// Safe returns how many events are safe.
func (s *Source) Safe() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.safe
}

// Wait waits until n events are safe.
func (s *Source) Wait(ctx context.Context, n int) error {
	for {
		s.mu.Lock()
		if s.safe >= n {
			s.mu.Unlock()
			return nil
		}
		if s.acked == nil {
			s.acked = make(chan struct{})
		}
		acked := s.acked
		s.mu.Unlock()
		select {
		case <-acked:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// Waiting returns how many events are not safe yet.
func (s *Source) Waiting() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, events := range s.waiting {
		n += len(events)
	}
	return n
}

func (s *Source) notifyLocked() {
	if s.changed != nil {
		close(s.changed)
		s.changed = nil
	}
}

// Run emits until ctx ends.
func (s *Source) Run(ctx context.Context, emit pipeline.Emit) error {
	s.mu.Lock()
	s.next = 0
	s.mu.Unlock()
	for ctx.Err() == nil {
		s.mu.Lock()
		if err := s.fail; err != nil {
			s.fail = nil
			s.mu.Unlock()
			return err
		}
		if s.next == len(s.waiting) {
			if s.changed == nil {
				s.changed = make(chan struct{})
			}
			changed := s.changed
			s.mu.Unlock()
			select {
			case <-changed:
			case <-ctx.Done():
			}
			continue
		}
		events := s.waiting[s.next]
		s.next++
		s.mu.Unlock()
		if err := emit(ctx, slices.Clone(events), func() { s.acknowledge(events) }); err != nil {
			return nil
		}
	}
	return nil
}

func (s *Source) acknowledge(events []pipeline.Event) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range s.waiting {
		if len(events) > 0 && &s.waiting[i][0] == &events[0] {
			s.waiting = slices.Delete(s.waiting, i, i+1)
			s.safe += len(events)
			if s.acked != nil {
				close(s.acked)
				s.acked = nil
			}
			if i < s.next {
				s.next--
			}
			return
		}
	}
}

// Sink keeps what it is sent. The zero value is ready.
type Sink struct {
	mu     sync.Mutex
	events []pipeline.Event
	calls  int
	fail   func(events []pipeline.Event) error
	closed bool
}

// Fail sets a function that is called before events are kept, nil for none. Its error is that
// of Send. Of a batch with a *pipeline.RefusedError the events before it are kept, of one with a
// *pipeline.SentError those that it says.
func (s *Sink) Fail(f func(events []pipeline.Event) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// Send keeps events.
func (s *Sink) Send(ctx context.Context, events []pipeline.Event) error {
	s.mu.Lock()
	fail := s.fail
	s.calls++
	s.mu.Unlock()
	var err error
	keep := len(events)
	if fail != nil {
		if err = fail(events); err != nil {
			switch e := err.(type) { //nolint:errorlint // wrapped ones say nothing of what was sent
			case *pipeline.RefusedError:
				keep = e.Index
			case *pipeline.SentError:
				keep = e.Sent
			default:
				keep = 0
			}
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.events = append(s.events, events[:keep]...)
	return err
}

// Close returns nil.
func (s *Sink) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	return nil
}

// Events returns what was sent so far.
func (s *Sink) Events() []pipeline.Event {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.events)
}

// Ends are sources and sinks by their names in the spec, of all pipelines. A name that is not
// there cannot be opened.
type Ends struct {
	Sources map[string]pipeline.Source
	Sinks   map[string]pipeline.Sink
}

// Openers returns functions that open them.
func (e Ends) Openers() pipeline.Openers {
	return pipeline.Openers{
		Source: func(spec *v1alpha1.Source, _ pipeline.Env) (pipeline.Source, error) {
			if s := e.Sources[string(spec.Name)]; s != nil {
				return s, nil
			}
			return nil, fmt.Errorf("pipelinetest: there is no source %q", spec.Name)
		},
		Sink: func(spec *v1alpha1.Sink, _ pipeline.Env) (pipeline.Sink, error) {
			if s := e.Sinks[string(spec.Name)]; s != nil {
				return s, nil
			}
			return nil, fmt.Errorf("pipelinetest: there is no sink %q", spec.Name)
		},
	}
}
