package sync

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"net/url"
	"strings"

	"golang.org/x/sync/errgroup"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/edgekit/edgekit/hub"
)

// MaxBody is the size in bytes of the largest report that is decoded: what
// the API server takes of one object, with some room.
const MaxBody = 2 << 20

// Writer makes one report of a node durable. nil means that it is, or that it
// no longer matters. An error that wraps an *hub.Error with a final code drops
// the report; every other error has it come again. Bodies come from the edge
// and may hold anything.
type Writer func(ctx context.Context, node string, obj hub.Object) error

// SinkConfig sets up a Sink. Node and Writers are required.
type SinkConfig struct {
	Node    string            // the node whose reports come in
	Writers map[string]Writer // by resource
	// First lists resources that are written before all others of a batch,
	// in this order; Last those that are written after all others, since
	// they may take their time.
	First, Last []string
	Parallel    int // writes at the same time for one node; 0 means 8
	// Resend returns keys whose reports the node sends when its session begins, though they
	// were acknowledged before; nil asks for none.
	Resend func() []hub.Key
}

var _ interface {
	hub.Sink
	hub.Inbox
} = (*Sink)(nil)

// Sink receives the reports of one node, state and events. It stores nothing: the API server has
// what was reported. Reports with one namespace and name are written in their order, even if
// their resources differ; others are written at the same time. If some reports of a batch are
// refused for good, the others are applied, and the error names the first refused one. If any
// write must be tried again, that is the error. Repeating a write has no effect. Sink logs
// nothing: hub sends the objects of a refused batch again one by one, and logs the refused ones.
type Sink struct{ cfg SinkConfig }

// NewSink checks the configuration.
func NewSink(cfg SinkConfig) (*Sink, error) {
	if cfg.Node == "" || len(cfg.Writers) == 0 {
		return nil, errors.New("sync: SinkConfig.Node and SinkConfig.Writers are required")
	}
	if cfg.Parallel == 0 {
		cfg.Parallel = 8
	}
	return &Sink{cfg: cfg}, nil
}

// oldest is a version that is older than that of every report.
const oldest = "0"

// Versions yields the keys of SinkConfig.Resend with a version that is older than every
// report, so that the node sends them. It sends what was not acknowledged in any case, and the
// API server ignores a write that changes nothing.
func (s *Sink) Versions(context.Context) (iter.Seq2[hub.Key, string], error) {
	return func(yield func(hub.Key, string) bool) {
		if s.cfg.Resend == nil {
			return
		}
		for _, key := range s.cfg.Resend() {
			if !yield(key, oldest) {
				return
			}
		}
	}, nil
}

// Apply writes the reports; see Sink for order and errors.
func (s *Sink) Apply(ctx context.Context, objects []hub.Object) error {
	var refused error
	for _, stage := range s.stages(objects) {
		results := make([]error, len(stage))
		g := errgroup.Group{}
		g.SetLimit(s.cfg.Parallel)
		for i, group := range stage {
			g.Go(func() error {
				results[i] = s.applyGroup(ctx, group)
				return nil
			})
		}
		_ = g.Wait() // results has the errors
		for _, err := range results {
			if err != nil && !Final(err) {
				return err
			}
			if refused == nil {
				refused = err
			}
		}
	}
	return refused
}

// stages puts the objects into the order First, all others, Last, and within
// each into groups that share namespace and name.
func (s *Sink) stages(objects []hub.Object) [][][]hub.Object {
	rank := make(map[string]int)
	for i, resource := range s.cfg.First {
		rank[resource] = i - len(s.cfg.First)
	}
	for i, resource := range s.cfg.Last {
		rank[resource] = i + 1
	}
	type place struct{ namespace, name string }
	stages := make([][][]hub.Object, len(s.cfg.First)+1+len(s.cfg.Last))
	index := make([]map[place]int, len(stages))
	for _, obj := range objects {
		at := rank[obj.Key.Resource] + len(s.cfg.First)
		if index[at] == nil {
			index[at] = make(map[place]int)
		}
		p := place{obj.Key.Namespace, obj.Key.Name}
		i, ok := index[at][p]
		if !ok {
			i = len(stages[at])
			index[at][p] = i
			stages[at] = append(stages[at], nil)
		}
		stages[at][i] = append(stages[at][i], obj)
	}
	return stages
}

func (s *Sink) applyGroup(ctx context.Context, group []hub.Object) error {
	var refused error
	for i, obj := range group {
		if i+1 < len(group) && group[i+1].Key == obj.Key {
			continue // a newer value of the same key follows
		}
		err := s.write(ctx, obj)
		if err != nil && !Final(err) {
			return err
		}
		if refused == nil {
			refused = err
		}
	}
	return refused
}

// Marks yields nothing: an event that arrives again is written again under the same name, which
// changes nothing.
func (s *Sink) Marks(context.Context) (iter.Seq2[string, uint64], error) {
	return func(func(string, uint64) bool) {}, nil
}

// Append writes events one by one, in their order, each with the writer of its
// key's resource. It ends at the first that fails.
func (s *Sink) Append(ctx context.Context, _ string, events []hub.Event) error {
	for _, e := range events {
		if err := s.write(ctx, hub.Object{Key: e.Key, Body: e.Body}); err != nil {
			return err
		}
	}
	return nil
}

func (s *Sink) write(ctx context.Context, obj hub.Object) error {
	w := s.cfg.Writers[obj.Key.Resource]
	if w == nil {
		return &hub.Error{Code: hub.CodeUnsupported, Text: fmt.Sprintf("no node may report resource %q", obj.Key.Resource)}
	}
	if len(obj.Body) > MaxBody {
		return Invalid(obj.Key, fmt.Errorf("body has %d bytes, the limit is %d", len(obj.Body), MaxBody))
	}
	if err := w(ctx, s.cfg.Node, obj); err != nil {
		return fmt.Errorf("sync: %s: %w", obj.Key, err)
	}
	return nil
}

// Invalid is the error for a report that can never be written; hub does not retry it.
func Invalid(key hub.Key, reason error) error {
	return &hub.Error{Code: hub.CodeInvalid, Text: key.String() + ": " + reason.Error()}
}

// Forbidden is the final error for a report that is not the node's to make.
func Forbidden(key hub.Key, reason string) error {
	return &hub.Error{Code: hub.CodeForbidden, Text: key.String() + ": " + reason}
}

// Final reports whether repeating the write is of no use.
func Final(err error) bool {
	e, ok := errors.AsType[*hub.Error](err)
	return ok && e.Final()
}

// FromAPI classifies an error of the API server. A refusal because of the object's
// content, or of the node that writes it, is final. A refusal to impersonate is
// not: cloudcore lacks a permission, which an operator can add while the node
// waits.
func FromAPI(err error) error {
	var status apierrors.APIStatus
	if at := (*url.Error)(nil); errors.As(err, &at) {
		return &unreachableError{err}
	}
	if err == nil || !errors.As(err, &status) {
		return err
	}
	text := status.Status().Message
	switch {
	case apierrors.IsInvalid(err), apierrors.IsBadRequest(err), apierrors.IsRequestEntityTooLargeError(err),
		apierrors.IsMethodNotSupported(err), apierrors.IsUnsupportedMediaType(err):
		return &hub.Error{Code: hub.CodeInvalid, Text: text}
	case apierrors.IsForbidden(err) && !impersonation(status):
		return &hub.Error{Code: hub.CodeForbidden, Text: text}
	case apierrors.IsNotFound(err):
		return &hub.Error{Code: hub.CodeNotFound, Text: text}
	case apierrors.IsTooManyRequests(err), apierrors.IsServerTimeout(err), apierrors.IsServiceUnavailable(err),
		apierrors.IsTimeout(err), apierrors.IsInternalError(err):
		return &hub.Error{Code: hub.CodeUnavailable, Text: text}
	}
	return err
}

// unreachableError has the whole cause for the log. A node gets an error without
// the address of the API server.
type unreachableError struct{ cause error }

func (e *unreachableError) Error() string { return e.cause.Error() }

// Unwrap returns the cause, and the error that a node gets.
func (e *unreachableError) Unwrap() []error {
	return []error{&hub.Error{Code: hub.CodeUnavailable, Text: "the API server cannot be reached"}, e.cause}
}

func impersonation(status apierrors.APIStatus) bool {
	s := status.Status()
	if d := s.Details; d != nil && (d.Group == "" && (d.Kind == "users" || d.Kind == "groups") || d.Group == "authentication.k8s.io" && d.Kind == "nodes") {
		return true
	}
	// If the role lacks the verb for the action as the node, the details are those
	// of the object; only the text has the verb (KEP-5284).
	return strings.Contains(s.Message, "impersonate-on:")
}
