package control

import (
	"encoding/json"
	"math"
	"time"

	"github.com/edgekit/edgekit/bus/pipeline"
	"github.com/edgekit/edgekit/bus/pipeline/cloudevents"
	"github.com/edgekit/edgekit/bus/pipeline/internal/values"
	"github.com/edgekit/edgekit/bus/pipeline/v1alpha1"
)

// Status is how one pipeline does.
type Status struct {
	Namespace  string             `json:"namespace,omitempty"`
	Name       string             `json:"name"`
	Generation int64              `json:"generation,omitempty"`
	State      pipeline.State     `json:"state"`
	Failures   []v1alpha1.Failure `json:"failures,omitempty"` // the newest first
	Steps      []StepStatus       `json:"steps"`              // sources, steps and sinks in the order of the spec
}

// Ref names the pipeline.
func (s Status) Ref() pipeline.Ref { return pipeline.Ref{Namespace: s.Namespace, Name: s.Name} }

// StepStatus are the counts of one source, step or sink since the program began; see
// pipeline.StepStats.
type StepStatus struct {
	Name        string       `json:"name"`
	Kind        string       `json:"kind"`
	In          int64        `json:"in"`
	Out         int64        `json:"out"`
	Drop        int64        `json:"drop,omitempty"`
	Late        int64        `json:"late,omitempty"`
	Dead        int64        `json:"dead,omitempty"`
	Retry       int64        `json:"retry,omitempty"`
	BusySeconds float64      `json:"busySeconds,omitempty"`
	Keys        int          `json:"keys,omitempty"`
	Queue       *QueueStatus `json:"queue,omitempty"` // nil but for sinks
}

// QueueStatus says what waits for a sink.
type QueueStatus struct {
	Events  int64      `json:"events"`
	Bytes   int64      `json:"bytes"`
	Oldest  *time.Time `json:"oldest,omitempty"` // when the oldest was appended
	Dropped int64      `json:"dropped,omitempty"`
	Blocked bool       `json:"blocked,omitempty"`
}

// TapEvent is one live event.
type TapEvent struct {
	Event   json.RawMessage `json:"event,omitempty"`   // as a CloudEvent
	Skipped int64           `json:"skipped,omitempty"` // events that were not shown before it
	Error   string          `json:"error,omitempty"`   // why the stream ends; there is no event
}

// DeadLetter is an event that a pipeline could not handle.
type DeadLetter struct {
	ID      string          `json:"id,omitempty"` // for DropDead and Replay
	Step    string          `json:"step,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Message string          `json:"message,omitempty"`
	Time    time.Time       `json:"time,omitzero"`
	Event   json.RawMessage `json:"event,omitempty"` // as a CloudEvent
	Error   string          `json:"error,omitempty"` // why the stream ends; there is no letter
}

// count is the answer to what drops or replays.
type count struct {
	Count int64 `json:"count"`
}

// failure is the body of an answer that is an error, and the last line of a stream that fails.
type failure struct {
	Error string `json:"error"`
}

// statusOf converts what a Runner says.
func statusOf(s pipeline.Status) Status {
	out := Status{Namespace: s.Ref.Namespace, Name: s.Ref.Name, Generation: s.Generation, State: s.State, Failures: s.Failures, Steps: []StepStatus{}}
	for _, step := range s.Steps {
		one := StepStatus{Name: step.Name, Kind: step.Kind, In: step.In, Out: step.Out, Drop: step.Drop, Late: step.Late, Dead: step.Dead,
			Retry: step.Retry, BusySeconds: step.Busy.Seconds(), Keys: step.Keys}
		if step.Part == pipeline.PartSink {
			q := step.Queue
			one.Queue = &QueueStatus{Events: q.Events, Bytes: q.Bytes, Dropped: q.Dropped, Blocked: q.Blocked}
			if !q.Oldest.IsZero() {
				one.Queue.Oldest = &q.Oldest
			}
		}
		out.Steps = append(out.Steps, one)
	}
	return out
}

// cloudEvent is an event in the JSON format of CloudEvents. Data that JSON cannot carry, as NaN, become
// text; an event that still is none, as one without an id, has its data and the reason.
func cloudEvent(e *pipeline.Event) json.RawMessage {
	b, err := cloudevents.AppendJSON(nil, e)
	if err == nil {
		return b
	}
	plain := *e
	plain.Data = values.Map(e.Data, finite)
	if b, err = cloudevents.AppendJSON(nil, &plain); err == nil {
		return b
	}
	rest := struct {
		ID      string `json:"id"`
		Subject string `json:"subject,omitempty"`
		Data    any    `json:"data"`
		Reason  string `json:"notACloudEvent"`
	}{e.ID, e.Subject, plain.Data, err.Error()}
	if b, err = json.Marshal(rest); err != nil {
		b, _ = json.Marshal(failure{err.Error()}) // data that is no Event's
	}
	return b
}

// finite replaces a number that JSON does not have by its name.
func finite(v any) any {
	n, ok := v.(float64)
	switch {
	case !ok:
	case math.IsNaN(n):
		return "NaN"
	case math.IsInf(n, 1):
		return "Infinity"
	case math.IsInf(n, -1):
		return "-Infinity"
	}
	return v
}
