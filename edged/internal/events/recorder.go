package events

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/edgekit/edgekit/edged/internal/lifecycle"
	"github.com/edgekit/edgekit/edged/internal/podspec"
)

// Bounds of the recorder. Events are for people: when there are too many, the
// newest are dropped, and those that repeat are counted rather than listed.
const (
	eventQueue   = 256
	eventMemory  = 1024
	eventBurst   = 25               // repeats of one object's events that pass at once
	eventRefill  = 5 * time.Minute  // until one more repeat passes
	maxSimilar   = 10               // texts of one object and reason that are listed one by one
	similarTime  = 10 * time.Minute // without any such event until they are again
	maxEventText = 1024             // what the API server accepts of a message
)

// Recorder turns what happens into Kubernetes events. Its methods may be called by
// several goroutines.
type Recorder struct {
	reports Reports
	node    string
	log     *slog.Logger
	queue   chan corev1.Event
	limit   *rate.Limiter // of events of pods; nil without
	ofNode  *rate.Limiter // of events of the node, which those of many pods must not drown
	serial  atomic.Int64
	guard   lifecycle.Guard
}

// Reports stores an event; see edged.Reports.
type Reports interface {
	Event(ctx context.Context, event *corev1.Event) error
}

// New makes a Recorder for the node of that name.
func New(node string, reports Reports, log *slog.Logger) *Recorder {
	return &Recorder{reports: reports, node: node, log: log, queue: make(chan corev1.Event, eventQueue)}
}

// Limit bounds how many events of pods are reported in a second, and how many at once, and as
// many of the node; more are dropped. It must be called before Run; qps 0 means no limit.
func (r *Recorder) Limit(qps, burst int) {
	if r.limit, r.ofNode = nil, nil; qps > 0 {
		r.limit = rate.NewLimiter(rate.Limit(qps), max(burst, 1))
		r.ofNode = rate.NewLimiter(rate.Limit(qps), max(burst, 1))
	}
}

// Pod records an event of a pod. kind is corev1.EventTypeNormal or
// EventTypeWarning.
func (r *Recorder) Pod(pod *corev1.Pod, kind, reason, message string) {
	r.record(pod, "", kind, reason, message)
}

// Container records an event of a container of a pod.
func (r *Recorder) Container(pod *corev1.Pod, name, kind, reason, message string) {
	field := "spec.containers{" + name + "}"
	if _, init := podspec.FindContainer(pod, name); init {
		field = "spec.initContainers{" + name + "}"
	}
	if podspec.IsEphemeral(pod, name) {
		field = "spec.ephemeralContainers{" + name + "}"
	}
	r.record(pod, field, kind, reason, message)
}

// Node records an event of the node itself. Kubernetes keeps those in the
// namespace default, with the node's name as the uid.
func (r *Recorder) Node(kind, reason, message string) {
	r.add(corev1.ObjectReference{Kind: "Node", APIVersion: "v1", Name: r.node, UID: types.UID(r.node)}, metav1.NamespaceDefault, kind, reason, message)
}

func (r *Recorder) record(pod *corev1.Pod, field, kind, reason, message string) {
	r.add(corev1.ObjectReference{
		Kind: "Pod", APIVersion: "v1", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID, ResourceVersion: pod.ResourceVersion, FieldPath: field,
	}, pod.Namespace, kind, reason, message)
}

// add queues an event of an object.
func (r *Recorder) add(object corev1.ObjectReference, namespace, kind, reason, message string) {
	if len(message) > maxEventText {
		message = Truncate(message, maxEventText-3) + "..."
	}
	now := metav1.Now()
	e := corev1.Event{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace,
			Name:      fmt.Sprintf("%s.%x", object.Name, now.UnixNano()+r.serial.Add(1)),
		},
		InvolvedObject: object,
		Reason:         reason, Message: message, Type: kind, Count: 1, FirstTimestamp: now, LastTimestamp: now,
		// Tools and tests of Kubernetes ask for the events of "kubelet".
		Source: corev1.EventSource{Component: "kubelet", Host: r.node}, ReportingController: "kubelet", ReportingInstance: r.node,
	}
	select {
	case r.queue <- e:
	default:
		r.log.Debug("dropped an event: too many are waiting", "object", object.Kind+" "+object.Name, "reason", reason)
	}
}

// Run reports events until ctx ends, and then returns nil. A second call returns
// edged.ErrStarted.
func (r *Recorder) Run(ctx context.Context) error {
	if err := r.guard.Start(); err != nil {
		return err
	}
	type key struct{ uid, field, reason, message string }
	seen := make(map[key]corev1.Event)
	similar := make(map[key]*texts) // their keys have no message
	limits := make(map[string]*rate.Limiter)
	for {
		var e corev1.Event
		select {
		case <-ctx.Done():
			return nil
		case e = <-r.queue:
		}
		if len(seen) > eventMemory || len(similar) > eventMemory { // an event that the limit drops is in similar alone
			clear(seen)
			clear(limits)
			clear(similar)
		}
		k := key{string(e.InvolvedObject.UID), "", e.Type + " " + e.Reason, ""}
		if similar[k] == nil {
			similar[k] = &texts{}
		}
		if similar[k].add(e.Message, e.LastTimestamp.Time) {
			k = key{k.uid, e.InvolvedObject.FieldPath, e.Reason, e.Message}
		} else {
			e.Message = combined + Truncate(e.Message, maxEventText-len(combined))
		}
		if old, ok := seen[k]; ok {
			old.Count++
			old.LastTimestamp, old.Message = e.LastTimestamp, e.Message
			e = old
			seen[k] = e
			l := limits[k.uid]
			if l == nil {
				l = rate.NewLimiter(rate.Every(eventRefill), eventBurst)
				limits[k.uid] = l
			}
			if !l.Allow() {
				continue
			}
		}
		limit := r.limit
		if e.InvolvedObject.Kind == "Node" {
			limit = r.ofNode
		}
		if limit != nil && !limit.Allow() {
			r.log.Debug("dropped an event: more than Config.EventQPS (--event-qps) allows", "reason", e.Reason)
			continue
		}
		seen[k] = e
		if err := r.reports.Event(ctx, &e); err != nil && ctx.Err() == nil {
			r.log.Warn("cannot report an event", "reason", e.Reason, "err", err)
		}
	}
}

// combined is what the text of an event begins with that counts for many similar ones: the words of
// client-go's recorder, which tools know.
const combined = "(combined from similar events): "

// texts are the texts of the events of one object and reason.
type texts struct {
	seen map[string]bool
	last time.Time
}

// add notes a text. It is false if there are too many others: the event is then counted with them.
func (t *texts) add(text string, now time.Time) bool {
	if now.Sub(t.last) > similarTime {
		t.seen = nil
	}
	t.last = now
	if t.seen[text] {
		return true
	}
	if len(t.seen) >= maxSimilar {
		return false
	}
	if t.seen == nil {
		t.seen = make(map[string]bool)
	}
	t.seen[text] = true
	return true
}

// Truncate gives at most the first n bytes of a text, and no part of a character.
func Truncate(text string, n int) string {
	if len(text) > n {
		text = text[:n]
	}
	return strings.ToValidUTF8(text, "")
}
